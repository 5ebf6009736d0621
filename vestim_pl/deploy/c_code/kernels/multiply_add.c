/* Add the product of a matrix [rows][columns] and a vector to out. */
static void multiply_add(float *out, const float *matrix, const float *vector, int rows, int columns)
{
    for (int row = 0; row < rows; row++) {
        out[row] += dot(matrix, vector, columns);
        matrix += columns;
    }
}
