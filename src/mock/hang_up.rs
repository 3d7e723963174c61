//! Whether the client of a connection has hung up.
//!
//! A client hangs up by closing the connection, or only its own direction of it: vLLM's HTTP server takes both for the
//! same. Requests that wait behind the one that is answered are no hang-up.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::units::Epoch;

/// Waits until `time_ns`, or until the client hangs up; returns whether it has.
pub fn hangs_up_by(client: &TcpStream, time_ns: u64, epoch: Epoch) -> io::Result<bool> {
    loop {
        let left_ns = time_ns.saturating_sub(epoch.now_ns());
        match hangs_up_within(client, Duration::from_nanos(left_ns)) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Returns at once whether the client has hung up.
pub fn has_hung_up(client: &TcpStream) -> io::Result<bool> {
    Ok(hangs_up_within(client, Duration::ZERO)?)
}

fn hangs_up_within(client: &TcpStream, time: Duration) -> rustix::io::Result<bool> {
    let time = Timespec::try_from(time).expect("nanoseconds in 64 bits are seconds in 63");
    let ready = poll(&mut [PollFd::new(client, PollFlags::RDHUP)], Some(&time))?;
    Ok(ready > 0)
}
