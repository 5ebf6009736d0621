/* Sum of products of two vectors. */
static float dot(const float *left, const float *right, int count)
{
    float sum = 0.0f;
    for (int index = 0; index < count; index++) {
        sum += left[index] * right[index];
    }
    return sum;
}
