static void relu(float *values, int count)
{
    for (int index = 0; index < count; index++) {
        values[index] = values[index] > 0.0f ? values[index] : 0.0f;
    }
}
