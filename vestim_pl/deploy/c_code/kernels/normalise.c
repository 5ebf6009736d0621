/* Normalise each part of width values to zero mean and unit variance. */
static void normalise(float *out, const float *in, float epsilon, int count, int width)
{
    for (int first = 0; first < count; first += width) {
        float mean = 0.0f;
        float variance = 0.0f;
        for (int index = first; index < first + width; index++) {
            mean += in[index] / (float)width;
        }
        for (int index = first; index < first + width; index++) {
            variance += (in[index] - mean) * (in[index] - mean) / (float)width;
        }
        const float factor = 1.0f / sqrtf(variance + epsilon);
        for (int index = first; index < first + width; index++) {
            out[index] = (in[index] - mean) * factor;
        }
    }
}
