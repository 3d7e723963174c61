//! The server's end of a connection: plain, or with TLS, where one thread reads while another writes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// The folder of the test certificates; `ca.pem` signed that of localhost.
pub const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

pub struct Connection {
    stream: TcpStream,
    /// Never locked while the stream is read, which may take as long as a reply.
    tls: Option<Mutex<ServerConnection>>,
}

/// Returns the settings of a server with the test certificate of localhost.
pub fn tls_settings() -> Arc<ServerConfig> {
    let file = |name: &str| format!("{CERTIFICATES}/{name}");
    let certificate = CertificateDer::from_pem_file(file("localhost.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("localhost.key")).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.expect("the key is the certificate's"))
}

impl Connection {
    pub fn new(stream: TcpStream, settings: Option<Arc<ServerConfig>>) -> Connection {
        stream.set_nodelay(true).expect("a TCP socket");
        let session = |settings| ServerConnection::new(settings).expect("good settings");
        Connection {
            stream,
            tls: settings.map(|settings| Mutex::new(session(settings))),
        }
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return (&self.stream).read(buffer);
        };
        let mut record = [0; 16 << 10];
        loop {
            match lock(tls).reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            let n = (&self.stream).read(&mut record)?;
            let mut session = lock(tls);
            let mut bytes = &record[..n];
            // At the end of the stream this tells the session of it.
            session.read_tls(&mut bytes)?;
            while !bytes.is_empty() {
                session.process_new_packets().map_err(io::Error::other)?;
                session.read_tls(&mut bytes)?;
            }
            session.process_new_packets().map_err(io::Error::other)?;
            send(&mut session, &self.stream)?;
        }
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return (&self.stream).write(bytes);
        };
        let mut session = lock(tls);
        let n = session.writer().write(bytes)?;
        send(&mut session, &self.stream)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock(tls: &Mutex<ServerConnection>) -> MutexGuard<'_, ServerConnection> {
    tls.lock().expect("no thread panics with the session")
}

/// Writes what the session has to send.
fn send(session: &mut ServerConnection, mut stream: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(&mut stream)?;
    }
    Ok(())
}
