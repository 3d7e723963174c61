//! Readings of the memory of a server during the requests of a workload.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::backend::memory::{Memory, Of, Reading, during};
use crate::cli::connect::Opened;
use crate::cli::counters::{KV_TOKENS, MEAN_MEMORY, MIB, PEAK_MEMORY};
use crate::collect::Series;
use crate::error::Result;
use crate::lock::lock;
use crate::stats::facts::{Told, ToldFigures};
use crate::units::Epoch;

/// The key of the figure that is computed here alone.
const KV_BYTES: &str = "kv_used_bytes";

pub struct Beside {
    /// The processes whose memory is read; `None`: the server was not started by us.
    memory_of: Option<Of>,
    /// KV cache bytes of one token, and their source.
    token_bytes: Option<(u64, String)>,
    epoch: Epoch,
    /// The memory readings of the current workload.
    memory: Option<Arc<Memory>>,
    readings: Arc<Mutex<Vec<Reading>>>,
}

impl Beside {
    pub fn new(
        opened: &Opened,
        memory_of: Option<Of>,
        token_bytes: Option<(u64, String)>,
    ) -> Beside {
        Beside {
            memory_of,
            token_bytes,
            epoch: opened.link.epoch,
            memory: None,
            readings: Arc::default(),
        }
    }

    /// Starts reading memory. The returned series yields the readings since its last call.
    pub fn begin(&mut self) -> Result<Series> {
        lock(&self.readings).clear();
        let Some(of) = self.memory_of else {
            return Ok(Box::new(Vec::new));
        };
        let memory = Arc::new(Memory::start(of, self.epoch)?);
        self.memory = Some(Arc::clone(&memory));
        let readings = Arc::clone(&self.readings);
        Ok(Box::new(move || {
            let fresh = memory.take();
            lock(&readings).extend_from_slice(&fresh);
            let line = |seen: &Reading| json!({"t_ns": seen.t_ns, "rss_bytes": seen.bytes});
            fresh.iter().map(|seen| ("memory", line(seen))).collect()
        }))
    }

    /// Adds to the figures that the server told of a workload between the two stamps those that are told here.
    pub fn add(&mut self, told: &mut ToldFigures, (t_start_ns, t_end_ns): (u64, u64)) {
        self.memory = None;
        if let Some(of) = self.memory_of {
            let [peak, mean] = self.memory(of, t_start_ns, t_end_ns);
            told.insert(PEAK_MEMORY.to_string(), peak);
            told.insert(MEAN_MEMORY.to_string(), mean);
        }
        told.insert(KV_BYTES.to_string(), self.kv_bytes(&told[KV_TOKENS]));
    }

    /// Returns the peak and the mean between the two stamps.
    fn memory(&self, of: Of, t_start_ns: u64, t_end_ns: u64) -> [Told; 2] {
        let readings = lock(&self.readings);
        let told_of = during(&readings, t_start_ns, t_end_ns).iter();
        let mib: Vec<f64> = told_of.map(|seen| seen.bytes as f64 / MIB).collect();
        let Some(peak) = mib.iter().copied().reduce(f64::max) else {
            return [(); 2].map(|()| Told::absent("no reading during the workload"));
        };
        let whose = match of {
            Of::ThisProcess => "this process, which contains the mock",
            Of::Group(_) => {
                "the backend's process group; shared pages count twice, GPU memory not at all"
            }
        };
        let source = format!("resident set from /proc every 100 ms, of {whose}");
        let mean = mib.iter().sum::<f64>() / mib.len() as f64;
        [peak, mean].map(|value| Told::new(value, source.clone()))
    }

    fn kv_bytes(&self, tokens: &Told) -> Told {
        match (tokens.value, &self.token_bytes) {
            (None, _) => Told::absent("used tokens are not reported"),
            (Some(_), None) => {
                Told::absent("model_configs.json has no such model: give --bytes-per-token")
            }
            (Some(tokens), Some((bytes, source))) => Told::new(
                tokens * *bytes as f64,
                format!("used tokens × {bytes} bytes a token ({source})"),
            ),
        }
    }
}
