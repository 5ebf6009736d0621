/* Add the product of a matrix of 8-bit weights, each row with its own scale, and a vector to out. */
static void multiply_add_int8(float *out, const int8_t *matrix, const float *scales, const float *vector, int rows,
                              int columns)
{
    for (int row = 0; row < rows; row++) {
        float sum = 0.0f;
        for (int column = 0; column < columns; column++) {
            sum += (float)matrix[column] * vector[column];
        }
        out[row] += scales[row] * sum;
        matrix += columns;
    }
}
