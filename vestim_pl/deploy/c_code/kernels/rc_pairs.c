/* Advance the voltages of RC pairs, which have 1 ohm and the given time constants (in steps) at 25 degC. */
static void rc_pairs(float *voltages, const float *time_constants, int count, float cold_factor, float current,
                     float temperature)
{
    const float resistance = expf(cold_factor * (25.0f - temperature));
    for (int pair = 0; pair < count; pair++) {
        const float gain = -expm1f(-1.0f / (time_constants[pair] * resistance)); /* 1 - decay, without rounding */
        voltages[pair] += gain * (resistance * current - voltages[pair]);
    }
}
