/* Advance a GRU by one step; both arrays hold the sums of the reset, update and new gates. */
static void gru_update(float *hidden, const float *from_input, const float *from_hidden, int size)
{
    for (int unit = 0; unit < size; unit++) {
        const float reset = sigmoid(from_input[unit] + from_hidden[unit]);
        const float update = sigmoid(from_input[size + unit] + from_hidden[size + unit]);
        const float candidate = tanhf(from_input[2 * size + unit] + reset * from_hidden[2 * size + unit]);
        hidden[unit] = candidate + update * (hidden[unit] - candidate);
    }
}
