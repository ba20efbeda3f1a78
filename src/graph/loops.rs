//! Structured loops: a scan over the slices of stacked tensors, built while it is open.
//!
//! [`Builder::layers`] is what models use. [`Builder::open_loop`] is the general form: carries, slices and emitted
//! values may be added at any time before [`LoopBody::close`], which appends the loop's node.
//!
//! A [`LoopBody`] identifies its loop by the body's region. Using one after `close`, or inside its own
//! [`LoopBody::outside`], is a mistake.

use std::panic::Location;

use super::builder::{Builder, Tensor};
use super::dtype::DType;
use super::ir::{NodeId, Region, RegionId, Site};
use super::op::{Loop, Op, Remat};
use super::recorder::{Carry, LOOP, LoopOptions, OpenLoop, Recorder, Value};
use super::shape::{Axis, Shape};
use super::unroll::unroll;

/// The inside of a loop that is being built.
#[derive(Clone, Copy)]
pub struct LoopBody<'g> {
    builder: &'g Builder,
    /// The loop's body, which is its identity.
    region: RegionId,
}

impl Builder {
    /// Runs `body` once for each of `count` layers over a carried tensor. Weights declared in the body have a leading
    /// `layers` axis outside. The body gets the layer's index (`s32`) and the carry, and returns the next carry.
    #[track_caller]
    pub fn layers<'g>(
        &'g self,
        count: usize,
        remat: Remat,
        carry: Tensor<'g>,
        body: impl FnOnce(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
    ) -> Tensor<'g> {
        let options = LoopOptions {
            remat,
            stack_weights: true,
            ..LoopOptions::default()
        };
        let inside = self.open_loop(Axis::new("layers", count), options);
        let argument = inside.carry(carry);
        let next = body(inside.index(), argument);
        inside.set_next(0, next);
        inside.close()[0]
    }

    /// Opens a loop over `axis`. All that is built until it is closed belongs to its body.
    #[track_caller]
    pub fn open_loop(&self, axis: Axis, options: LoopOptions) -> LoopBody<'_> {
        let site = Location::caller().into();
        let mut recorder = self.recorder.borrow_mut();
        if axis.size == 0 || i32::try_from(axis.size).is_err() {
            let problem =
                format!("it runs over {axis}; its s32 index allows 1 to 2^31 - 1 iterations");
            recorder.fail(LOOP, &[], problem, site);
        }
        let region = RegionId::from(recorder.graph.regions.len());
        recorder.graph.regions.push(Region::default());
        let scope = recorder.origin.map_or(recorder.scope, |(scope, _)| scope);
        let counter = Shape::scalar(DType::S32);
        let index = recorder.append_argument(region, counter, scope, Site::UNKNOWN);
        recorder.open.push(OpenLoop {
            region,
            axis,
            options,
            index,
            carries: Vec::new(),
            slices: Vec::new(),
            captures: Vec::new(),
            emits: Vec::new(),
            scope,
            site,
        });
        LoopBody {
            builder: self,
            region,
        }
    }
}

impl<'g> LoopBody<'g> {
    /// The iteration's index, `s32`.
    #[track_caller]
    pub fn index(self) -> Tensor<'g> {
        self.record(Location::caller().into(), |recorder, level| {
            recorder.open[level].value(recorder.open[level].index)
        })
    }

    /// Carries a tensor from iteration to iteration, starting with `init`. Returns its value in this iteration. Carries
    /// are numbered from 0 in the order of these calls.
    #[track_caller]
    pub fn carry(self, init: Tensor<'g>) -> Tensor<'g> {
        let site = Location::caller().into();
        let init = self.builder.own(LOOP, init, site);
        self.promise();
        self.record(site, |recorder, level| {
            let init = recorder.around(level, init, site);
            if init.is_poison() {
                return init;
            }
            let shape = recorder.shape(init);
            let open = &recorder.open[level];
            let (region, scope) = (open.region, open.scope);
            let arg = recorder.append_argument(region, shape, scope, Site::UNKNOWN);
            let open = &mut recorder.open[level];
            open.carries.push(Carry {
                init: init.node,
                arg,
                next: None,
            });
            open.value(arg)
        })
    }

    /// One slice of `stack`, whose first axis is the loop's.
    #[track_caller]
    pub fn slice(self, stack: Tensor<'g>) -> Tensor<'g> {
        let site = Location::caller().into();
        let stack = self.builder.own(LOOP, stack, site);
        self.record(site, |recorder, level| {
            let stack = recorder.around(level, stack, site);
            match stack.is_poison() {
                true => stack,
                false => recorder.slice(level, stack, site),
            }
        })
    }

    /// Runs `body` in the region around the loop, for example to make the first value of a carry that is added late.
    /// `body` must close the loops that it opens, and no others.
    #[track_caller]
    pub fn outside<T>(self, body: impl FnOnce() -> T) -> T {
        let site = Location::caller().into();
        let mut left = Vec::new();
        self.record(site, |recorder, level| {
            left = recorder.open.split_off(level);
            Value::POISON
        });
        let ids = |recorder: &Recorder| -> Vec<_> {
            let open = recorder.open.iter();
            open.map(|open| open.region).collect()
        };
        let before = ids(&self.builder.recorder.borrow());
        let result = body();
        let recorder = &mut *self.builder.recorder.borrow_mut();
        let after = ids(recorder);
        if before != after {
            let problem = "the closure of `outside` closes a loop around it or leaves one open";
            recorder.fail(LOOP, &[], problem, site);
        }
        // The loops become open again inside the one that they were opened in. If that is gone, they are dropped.
        if after.starts_with(&before) {
            recorder.open.truncate(before.len());
            recorder.open.extend(left);
        }
        result
    }

    /// Sets the value of the carry numbered `carry` in the next iteration.
    #[track_caller]
    pub fn set_next(self, carry: usize, next: Tensor<'g>) {
        let site = Location::caller().into();
        let next = self.builder.own(LOOP, next, site);
        self.record(site, |recorder, level| {
            let next = recorder.inside(level, next, site);
            if next.is_poison() {
                return next;
            }
            let open = &recorder.open[level];
            let problem = match open.carries.get(carry) {
                None => Some(format!("it has no carry {carry}")),
                Some(known) if known.next.is_some() => {
                    Some(format!("its carry {carry} already has a next value"))
                }
                Some(known) => {
                    let arg = open.value(known.arg);
                    let (before, after) = (recorder.shape(arg), recorder.shape(next));
                    (before != after).then(|| {
                        format!(
                            "its carry enters an iteration as {before} and leaves it as {after}"
                        )
                    })
                }
            };
            match problem {
                Some(problem) => recorder.fail(LOOP, &[next], problem, site),
                None => {
                    recorder.open[level].carries[carry].next = Some(next.node);
                    next
                }
            }
        });
    }

    /// Returns `value` from every iteration, stacked along the loop's axis. Stacks are numbered from 0 and follow the
    /// carries in the results of [`LoopBody::close`].
    #[track_caller]
    pub fn emit(self, value: Tensor<'g>) {
        let site = Location::caller().into();
        let value = self.builder.own(LOOP, value, site);
        self.promise();
        self.record(site, |recorder, level| {
            let value = recorder.inside(level, value, site);
            if !value.is_poison() {
                recorder.open[level].emits.push(value.node);
            }
            value
        });
    }

    /// Closes the loop and returns the last carries, then the stacks. Loops inside it must be closed. After a mistake all
    /// results are poison.
    #[track_caller]
    pub fn close(self) -> Vec<Tensor<'g>> {
        let site = Location::caller().into();
        let mut results = Vec::new();
        self.record(site, |recorder, level| {
            results = recorder.close(level, site);
            Value::POISON
        });
        if results.is_empty() {
            let recorder = self.builder.recorder.borrow();
            let promised = recorder.results.get(&self.region);
            results = vec![Value::POISON; promised.copied().unwrap_or(0)];
        }
        let results = results.into_iter();
        results.map(|value| self.builder.tensor(value)).collect()
    }

    /// Counts one more result, which `close` returns even if a mistake keeps it from being recorded.
    fn promise(self) {
        let results = &mut self.builder.recorder.borrow_mut().results;
        *results.entry(self.region).or_default() += 1;
    }

    /// Runs `body` with the loop's level among the open ones. It is a mistake if the loop is not open.
    fn record(self, site: Site, body: impl FnOnce(&mut Recorder, usize) -> Value) -> Tensor<'g> {
        let mut recorder = self.builder.recorder.borrow_mut();
        let value = match recorder.level_of(self.region) {
            Some(level) => body(&mut recorder, level),
            None => {
                let problem = "it is not open here: this is after `close` or inside `outside`";
                recorder.fail(LOOP, &[], problem, site)
            }
        };
        self.builder.tensor(value)
    }
}

impl OpenLoop {
    fn value(&self, node: NodeId) -> Value {
        Value {
            region: self.region,
            node,
        }
    }
}

impl Recorder {
    /// `value` as seen from the region around the loop at `level`, which reads it.
    fn around(&mut self, level: usize, value: Value, site: Site) -> Value {
        self.seen(
            level,
            value,
            site,
            "it reads a tensor of its own body from outside",
        )
    }

    /// `value` as seen from the body of the loop at `level`.
    fn inside(&mut self, level: usize, value: Value, site: Site) -> Value {
        let problem = "a result belongs to another loop's body, one within it or a closed one";
        self.seen(level + 1, value, site, problem)
    }

    fn seen(&mut self, depth: usize, value: Value, site: Site, problem: &str) -> Value {
        if value.is_poison() {
            return value;
        }
        let region = self.region_at(depth);
        match self.import_at(depth, value) {
            Some(node) => Value { region, node },
            None => self.fail(LOOP, &[value], problem, site),
        }
    }

    /// Closes the loop at `level`. Returns its results, or an empty list after a mistake.
    fn close(&mut self, level: usize, site: Site) -> Vec<Value> {
        if level + 1 != self.open.len() {
            let problem = "it is closed before a loop within it";
            self.fail(LOOP, &[], problem, site);
            return Vec::new();
        }
        let Some(open) = self.open.pop() else {
            return Vec::new();
        };
        if open.carries.iter().any(|carry| carry.next.is_none()) {
            self.fail(
                LOOP,
                &[],
                "a carry has no next value; call `set_next`",
                site,
            );
        }
        if self.error.is_some() {
            return Vec::new();
        }
        let around = self.here();
        let operands: Vec<_> = (open.carries.iter().map(|carry| carry.init))
            .chain(open.slices.iter().map(|(outer, _)| *outer))
            .chain(open.captures.iter().map(|(outer, _)| *outer))
            .map(|node| Value {
                region: around,
                node,
            })
            .collect();
        let body = &mut self.graph.regions[open.region.index()];
        body.args = [open.index]
            .into_iter()
            .chain(open.carries.iter().map(|carry| carry.arg))
            .chain(open.slices.iter().map(|(_, arg)| *arg))
            .chain(open.captures.iter().map(|(_, arg)| *arg))
            .collect();
        body.results = (open.carries.iter().filter_map(|carry| carry.next))
            .chain(open.emits.iter().copied())
            .collect();
        if self.unroll {
            return unroll(self, &open, &operands);
        }
        let count = open.carries.len() + open.emits.len();
        let op = Op::Loop(Box::new(Loop {
            body: open.region,
            axis: open.axis,
            reverse: open.options.reverse,
            carries: open.carries.len(),
            slices: open.slices.len(),
            remat: open.options.remat,
        }));
        let node = self.append(op, &operands, site);
        (0..count).map(|index| self.get(node, index)).collect()
    }
}
