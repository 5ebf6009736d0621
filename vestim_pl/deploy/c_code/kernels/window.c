/* Append a sample of count values to the length - 1 samples before it, oldest first, and keep the newest of them.
 * At the start, all samples before are taken to equal the first one. */
static void window(float *out, float *past, const float *sample, int count, int length, int started)
{
    if (!started) {
        for (int before = 0; before < length - 1; before++) {
            copy(past + before * count, sample, count);
        }
    }
    copy(out, past, (length - 1) * count);
    copy(out + (length - 1) * count, sample, count);
    copy(past, out + count, (length - 1) * count);
}
