static void hyperbolic_tangent(float *values, int count)
{
    for (int index = 0; index < count; index++) {
        values[index] = tanhf(values[index]);
    }
}
