//! The stages of the pipeline: named once, timed, and reported to a watcher.

use std::time::Instant;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Seconds of each stage, in order.
#[derive(Default)]
pub struct Stages<'a> {
    seconds: Vec<(&'static str, f64)>,
    watch: Option<Box<dyn FnMut(&'static str) + 'a>>,
}

impl<'a> Stages<'a> {
    /// Stages that call `watch` when each begins.
    pub fn watched(watch: impl FnMut(&'static str) + 'a) -> Self {
        Stages {
            seconds: Vec::new(),
            watch: Some(Box::new(watch)),
        }
    }

    /// Runs `work` as the stage `name`.
    pub fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        if let Some(watch) = &mut self.watch {
            watch(name);
        }
        let start = Instant::now();
        let result = work();
        self.seconds.push((name, start.elapsed().as_secs_f64()));
        result
    }

    /// The time of each stage.
    pub fn seconds(&self) -> Seconds {
        Seconds(self.seconds.clone())
    }
}

/// The time of each stage, in seconds and in order. An object in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seconds(pub Vec<(&'static str, f64)>);

impl Seconds {
    /// The time of the stage `name`; 0 if it did not run.
    pub fn of(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|(stage, _)| *stage == name);
        found.map_or(0.0, |(_, seconds)| *seconds)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, seconds) in &self.0 {
            map.serialize_entry(name, seconds)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_and_kept_in_order() {
        let mut heard = Vec::new();
        let mut stages = Stages::watched(|name| heard.push(name));
        assert_eq!(stages.time("lower", || 7), 7);
        stages.time("build", || ());
        let seconds = stages.seconds();
        drop(stages);
        assert_eq!(heard, ["lower", "build"]);
        let json = serde_json::to_string(&seconds).unwrap();
        assert!(
            json.starts_with("{\"lower\":") && json.contains(",\"build\":"),
            "{json}"
        );
    }
}
