/* Advance an LSTM by one step; gates holds the sums of the input, forget, cell and output gates. */
static void lstm_update(float *hidden, float *cell, const float *gates, int size)
{
    for (int unit = 0; unit < size; unit++) {
        const float input = sigmoid(gates[unit]);
        const float forget = sigmoid(gates[size + unit]);
        const float candidate = tanhf(gates[2 * size + unit]);
        const float output = sigmoid(gates[3 * size + unit]);
        cell[unit] = forget * cell[unit] + input * candidate;
        hidden[unit] = output * tanhf(cell[unit]);
    }
}
