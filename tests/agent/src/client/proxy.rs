//! Lets another process on the host use this client's stream: frames in, frames out, ids renumbered.

use super::{Client, Result};
use crate::frame::{Frame, Kind};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Serves one connection until it ends; its requests still under way are then cancelled.
///
/// # Errors
/// The connection failed, or dom0 is gone.
pub fn proxy(
    client: &Client,
    mut reader: impl Read,
    writer: impl Write + Send + 'static,
) -> io::Result<()> {
    let writer = Arc::new(Mutex::new(writer));
    let send = |writer: &Mutex<_>, frame: &Frame| {
        frame.write(&mut *writer.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let hello = client
        .wait_hello(std::time::Duration::from_secs(60))
        .map_err(io::Error::other)?;
    send(
        &writer,
        &Frame::new(0, Kind::Hello, 0, serde_json::to_vec(&hello)?),
    )?;

    let losses = client.watch_losses();
    let back = Arc::clone(&writer);
    std::thread::Builder::new()
        .name("losses".into())
        .spawn(move || {
            while let Ok(frame) = losses.recv() {
                if send(&back, &frame).is_err() {
                    return;
                }
            }
        })?;

    let under_way: Arc<Mutex<HashMap<(u16, u32), u32>>> = Arc::default();
    let known = || under_way.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = loop {
        let frame = match Frame::read(&mut reader) {
            Ok(Some(frame)) => frame,
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        };
        let key = (frame.channel, frame.id);
        if frame.kind != Kind::Request {
            let id = known().get(&key).copied();
            if let Some(id) = id {
                pass(client, Frame { id, ..frame })?;
            }
            continue;
        }
        let mut exchange = client
            .open("dom0", frame.channel, frame.payload)
            .map_err(io::Error::other)?;
        known().insert(key, exchange.id);
        let (back, under_way) = (Arc::clone(&writer), Arc::clone(&under_way));
        std::thread::Builder::new()
            .name("exchange".into())
            .spawn(move || {
                loop {
                    let answer = exchange.next(None);
                    let answer = match answer {
                        Ok(Some(answer)) => answer,
                        Ok(None) => break,
                        Err(e) => {
                            let reply = crate::message::Reply::Failed {
                                reason: e.to_string(),
                            };
                            let payload = serde_json::to_vec(&reply).unwrap_or_default();
                            Frame::new(key.0, Kind::Reply, key.1, payload)
                        }
                    };
                    let last = answer.kind == Kind::Reply;
                    if send(
                        &back,
                        &Frame {
                            id: key.1,
                            ..answer
                        },
                    )
                    .is_err()
                        || last
                    {
                        break;
                    }
                }
                under_way
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&key);
            })?;
    };
    for ((channel, _), id) in known().drain() {
        pass(client, Frame::new(channel, Kind::Cancel, id, Vec::new()))?;
    }
    ended
}

fn pass(client: &Client, frame: Frame) -> io::Result<()> {
    let sent: Result<()> = client.send("dom0", &frame);
    sent.map_err(io::Error::other)
}
