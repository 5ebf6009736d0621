/* Scale features to zero mean and unit variance in the training data. */
static void standardise(float *features, const float *means, const float *deviations, int count)
{
    for (int index = 0; index < count; index++) {
        features[index] = (features[index] - means[index]) / deviations[index];
    }
}
