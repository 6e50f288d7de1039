//! Some things are asked for much more often than others.

use crate::content::Random;

/// Weights that fall with the rank to a power, as in the traces of FAST '18 (Zipf).
pub(crate) struct Popularity(Vec<f64>);

impl Popularity {
    /// Of so many things. With the power 0 all of them are alike.
    pub(crate) fn of(things: usize, power: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=things).map(|rank| {
            #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^52")]
            let weight = (rank as f64).powf(-power);
            sum += weight;
            sum
        });
        Self(weights.collect())
    }

    /// The place of one of them.
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let all = self.0.last().copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
        let drawn = random.below(1_000_000) as f64 / 1e6 * all;
        self.0.partition_point(|weight| *weight < drawn).min(self.0.len().saturating_sub(1))
    }
}
