static void add(float *out, const float *in, int count)
{
    for (int index = 0; index < count; index++) {
        out[index] += in[index];
    }
}
