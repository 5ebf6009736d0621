static void gelu(float *values, int count)
{
    for (int index = 0; index < count; index++) {
        values[index] = 0.5f * values[index] * (1.0f + erff(values[index] * 0.70710678f));
    }
}
