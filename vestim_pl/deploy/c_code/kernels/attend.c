/* Let the newest step attend to itself and the steps before it, the farther back the less.
 * Each row of the cache, a ring buffer, has the keys and then the values of one step. */
static void attend(float *out, float *scores, const float *query, const float *cache, const float *rates, int size,
                   int heads, int newest, int count, int rows)
{
    const int width = size / heads;
    const float factor = 1.0f / sqrtf((float)width);
    for (int first = 0; first < size; first += width) {
        float largest = 0.0f;
        float sum = 0.0f;
        for (int back = 0; back < count; back++) {
            const float *key = cache + (newest - back + rows) % rows * 2 * size + first;
            scores[back] = factor * dot(query + first, key, width) - rates[first / width] * (float)back;
            largest = back == 0 || scores[back] > largest ? scores[back] : largest;
        }
        for (int index = first; index < first + width; index++) {
            out[index] = 0.0f;
        }
        for (int back = 0; back < count; back++) {
            const float *value = cache + (newest - back + rows) % rows * 2 * size + size;
            const float share = expf(scores[back] - largest);
            sum += share;
            for (int index = first; index < first + width; index++) {
                out[index] += share * value[index];
            }
        }
        for (int index = first; index < first + width; index++) {
            out[index] /= sum;
        }
    }
}
