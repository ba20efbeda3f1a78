//! A [`CompileReport`] as text.

use std::fmt::Write;

use super::compile::CompileReport;
use super::table::{count, size, table, time};

/// The number of rows of collectives that are shown; the JSON has all.
const SHOWN: usize = 12;

impl CompileReport {
    /// The whole report as text.
    pub fn text(&self) -> String {
        let parts = [
            self.head(),
            self.memory_text(),
            self.time_text(),
            self.forecast_text(),
            self.collectives_text(),
            self.warnings
                .iter()
                .map(|it| format!("warning: {it}\n"))
                .collect(),
            self.advice_text(),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }

    fn head(&self) -> String {
        let row = |name: &str, value: String| vec![name.to_string(), value];
        let mesh = match &self.mesh_reason {
            Some(reason) => reason.clone(),
            None => format!("mesh {}: given", self.mesh.0),
        };
        let plugin = match &self.plugin.version {
            Some(version) => format!("{} {version}", self.plugin.name),
            None => self.plugin.name.clone(),
        };
        let recipe = (self.global_batch.zip(self.length)).zip(self.tokens_per_step);
        let batch = recipe.map(|((rows, length), tokens)| {
            let (rows, tokens) = (count(rows as u64), count(tokens as u64));
            row(
                "batch",
                format!("{rows} rows of {length}: {tokens} tokens per step"),
            )
        });
        let model = [row(
            "model",
            format!("{} with {} parameters", self.model, count(self.parameters)),
        )];
        let rest = [
            row("target", self.target.mapping.clone()),
            row("mesh", mesh.trim_start_matches("mesh ").to_string()),
            row(
                "compiler",
                format!("{plugin} (PJRT {}), {}", self.plugin.pjrt, self.partitioner),
            ),
            row("program", self.fingerprint.clone()),
        ];
        let rows: Vec<_> = model.into_iter().chain(batch).chain(rest).collect();
        table(&[], &rows, &[])
    }

    fn memory_text(&self) -> String {
        let memory = &self.memory;
        let kept = memory.kept() + memory.batch;
        let mut rows = vec![
            ("weights", Some(memory.weights)),
            ("optimizer state", Some(memory.optimizer_state)),
            ("memories", Some(memory.memories).filter(|bytes| *bytes > 0)),
            ("batch and counters", Some(memory.batch)),
            (
                "padding of the above",
                memory.arguments.map(|it| it.saturating_sub(kept)),
            ),
            ("temporaries", memory.temporaries),
            ("code", memory.code),
        ];
        rows.retain(|(_, bytes)| bytes.is_some());
        let share = |bytes: u64| match memory.capacity {
            Some(capacity) => format!("{:.1} %", 100.0 * bytes as f64 / capacity as f64),
            None => String::new(),
        };
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|(name, bytes)| {
                let bytes = bytes.unwrap_or_default();
                vec![name.to_string(), size(bytes), share(bytes)]
            })
            .collect();
        if let Some(peak) = memory.peak {
            rows.push(vec!["peak".to_string(), size(peak), share(peak)]);
        }
        let mut text = "memory per device\n".to_string();
        text += &table(&[], &rows, &[1, 2]);
        let _ = match (memory.peak, memory.capacity) {
            (Some(peak), Some(capacity)) if memory.fits => writeln!(
                text,
                "  fits {}, with {} to spare",
                size(capacity),
                size(capacity - peak)
            ),
            (Some(peak), Some(capacity)) => writeln!(
                text,
                "  does not fit {}: {} over",
                size(capacity),
                size(peak - capacity)
            ),
            (None, Some(capacity)) => writeln!(
                text,
                "  does not fit {}; the compiler says:\n  {}",
                size(capacity),
                self.refused.as_deref().unwrap_or_default()
            ),
            (None, None) => writeln!(
                text,
                "  does not fit; the compiler says:\n  {}",
                self.refused.as_deref().unwrap_or_default()
            ),
            (Some(_), None) => writeln!(text, "  the memory of the device is unknown"),
        };
        text
    }

    fn time_text(&self) -> String {
        let stages: Vec<_> = (self.seconds.0.iter())
            .map(|(name, seconds)| format!("{name} {}", time(*seconds)))
            .collect();
        format!(
            "time spent\n  {}\n  {} instructions, {} of HLO\n",
            stages.join(", "),
            count(self.hlo.instructions as u64),
            size(self.hlo.bytes as u64)
        )
    }

    fn forecast_text(&self) -> String {
        let Some(forecast) = &self.forecast else {
            return String::new();
        };
        let mut text = format!(
            "step time, by the compiler's own estimate\n  {} per step: {} of computation ({} cycles) and {} of communication, not overlapped\n",
            time(forecast.step_seconds),
            time(forecast.compute_seconds),
            count(forecast.cycles),
            time(forecast.collective_seconds),
        );
        let model = self.flops.model_per_step.map(|flops| flops as f64);
        let speed = self.tokens_per_step.map(|tokens| {
            let tokens = tokens as f64 / forecast.step_seconds;
            format!("{} tokens/s", count(tokens as u64))
        });
        let share = forecast.mfu.zip(model).map(|(mfu, model)| {
            let percent = 100.0 * mfu;
            format!("{percent:.1} % of the chips' peak for {model:.3e} flops of the model")
        });
        let line: Vec<_> = speed.into_iter().chain(share).collect();
        if !line.is_empty() {
            let _ = writeln!(text, "  {}", line.join(", "));
        }
        let _ = match (self.flops.hardware_per_device, model) {
            (Some(done), Some(model)) => writeln!(
                text,
                "  {:.3e} flops per device, {:.2} times the model's share, because of recomputation and replicated work",
                done as f64,
                done as f64 / (model / self.target.devices as f64)
            ),
            (Some(done), None) => writeln!(text, "  {:.3e} flops per device", done as f64),
            (None, _) => Ok(()),
        };
        if forecast.crosses_slices {
            text += "  the network between slices is slower than the links that this estimate assumes\n";
        }
        if forecast.misses_reshapes() {
            let _ = writeln!(
                text,
                "  too low: the compiler has no estimate for reshapes, which copy {} in at least {}",
                size(forecast.reshaped_bytes),
                time(forecast.reshaped_seconds),
            );
        }
        if !forecast.unknown_trips.is_empty() {
            let _ = writeln!(
                text,
                "  too low: {} loops with an unknown number of iterations count once",
                forecast.unknown_trips.len()
            );
        }
        text
    }

    fn collectives_text(&self) -> String {
        let Some(all) = self.collectives.as_ref().filter(|all| !all.is_empty()) else {
            return String::new();
        };
        let rows: Vec<_> = (all.iter().take(SHOWN))
            .map(|row| {
                vec![
                    row.kind.clone(),
                    match row.axes.is_empty() {
                        true => "-".to_string(),
                        false => row.axes.join("+"),
                    },
                    size(row.bytes),
                    count(row.count),
                    row.scope.clone(),
                ]
            })
            .collect();
        let total: u64 = all.iter().map(|row| row.bytes).sum();
        let mut text = format!("between devices: {} per step and device\n", size(total));
        text += &table(&["kind", "over", "bytes", "times", "for"], &rows, &[2, 3]);
        if all.len() > SHOWN {
            let _ = writeln!(
                text,
                "  and {} more rows; --json has all",
                all.len() - SHOWN
            );
        }
        text
    }

    fn advice_text(&self) -> String {
        if self.advice.is_empty() {
            return String::new();
        }
        format!("what to change\n  {}\n", self.advice.join("\n  "))
    }
}
