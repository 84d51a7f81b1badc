//! A collector of traces that takes everything and keeps nothing.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

/// Starts one for as long as the tool runs; its address.
pub(crate) fn start() -> std::io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // Who sends nonsense is hung up on.
            thread::spawn(move || swallow(connection).ok());
        }
    });
    Ok(url)
}

fn swallow(connection: TcpStream) -> std::io::Result<()> {
    let mut from = BufReader::new(connection.try_clone()?);
    let mut to = connection;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        std::io::copy(&mut from.by_ref().take(length), &mut std::io::sink())?;
        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")?;
    }
}
