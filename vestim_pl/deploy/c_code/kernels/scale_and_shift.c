static void scale_and_shift(float *values, const float *factors, const float *shifts, int count)
{
    for (int index = 0; index < count; index++) {
        values[index] = values[index] * factors[index] + shifts[index];
    }
}
