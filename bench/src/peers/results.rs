//! What the turns of all contenders took.

use std::time::Duration;

use super::{Contender, Tool, Way};
use crate::stats::median;
use crate::table::Table;

/// One turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: Duration,
    /// Processor time of the client with its children.
    pub(crate) client: Duration,
    /// And of the server, as far as this turn caused it.
    pub(crate) server: Duration,
}

/// Every contender's turns, in the order of the rounds.
pub(crate) struct Results(Vec<(Contender, Vec<Sample>)>);

impl Results {
    pub(super) fn new(contenders: &[Contender]) -> Self {
        Self(contenders.iter().map(|contender| (*contender, Vec::new())).collect())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut (Contender, Vec<Sample>)> {
        self.0.iter_mut()
    }

    /// The median time in seconds.
    pub(crate) fn seconds(&self, name: &str) -> f64 {
        median(self.of(name).iter().map(|sample| sample.time.as_secs_f64()).collect())
    }

    /// The median processor time of both ends together in seconds.
    pub(crate) fn cpu_seconds(&self, name: &str) -> f64 {
        let both = |sample: &Sample| (sample.client + sample.server).as_secs_f64();
        median(self.of(name).iter().map(both).collect())
    }

    /// How many times as fast `ours` was as `theirs`: the median of the rounds' own ratios, which noise
    /// that comes and goes disturbs least. Nothing where one of them did not take part.
    pub(crate) fn ratio(&self, ours: &str, theirs: &str) -> Option<f64> {
        let pairs = self.of(ours).iter().zip(self.of(theirs));
        let ratios: Vec<f64> =
            pairs.map(|(a, b)| b.time.as_secs_f64() / a.time.as_secs_f64()).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// A row for each contender; `amount` things of `unit` were copied in each turn, and each is
    /// compared with the one of its own way that uses `peer`.
    pub(crate) fn table(&self, amount: f64, unit: &str, peer: Tool) -> Table {
        let rate = format!("{unit}/s");
        let times = |way| self.peer(peer, way).map(|one| format!("times {}", one.name));
        let times = times(Way::Get).or_else(|| times(Way::Put)).unwrap_or_default();
        let times = times.trim_end_matches(" get").trim_end_matches(" put");
        let mut table =
            Table::new(&["", "s", "min-max", &rate, "CPU s client", "CPU s server", times]);
        for (contender, samples) in &self.0 {
            let seconds = |of: fn(&Sample) -> Duration| -> Vec<f64> {
                samples.iter().map(|sample| of(sample).as_secs_f64()).collect()
            };
            let times = seconds(|sample| sample.time);
            let (min, max) =
                times.iter().fold((f64::MAX, 0f64), |(a, b), time| (a.min(*time), b.max(*time)));
            let time = median(times);
            let peer = self.peer(peer, contender.way);
            let ratio = peer.and_then(|peer| self.ratio(contender.name, peer.name));
            table.row([
                contender.name.to_owned(),
                format!("{time:.2}"),
                format!("{min:.2}-{max:.2}"),
                format!("{:.0}", amount / time),
                format!("{:.2}", median(seconds(|sample| sample.client))),
                format!("{:.2}", median(seconds(|sample| sample.server))),
                ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            ]);
        }
        table
    }

    fn peer(&self, tool: Tool, way: Way) -> Option<&Contender> {
        let mut contenders = self.0.iter().map(|(contender, _)| contender);
        contenders.find(|contender| contender.tool == tool && contender.way == way)
    }

    fn of(&self, name: &str) -> &[Sample] {
        let found = self.0.iter().find(|(contender, _)| contender.name == name);
        found.map(|(_, samples)| samples.as_slice()).unwrap_or_default()
    }
}
