//! A wire to a port: it can be cut, and moved to another port, as an address of a service is in a failover.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes on connections. It ends with the runtime.
pub struct Wire {
    /// Where it listens.
    pub port: u16,
    to: Arc<AtomicU16>,
    cuts: watch::Sender<u64>,
}

impl Wire {
    /// A wire to a port of this machine.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, _) = watch::channel(0);
        let to = Arc::new(AtomicU16::new(to));
        let (told, target) = (cuts.clone(), Arc::clone(&to));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, port) = (told.subscribe(), target.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    // Dropped in the middle of whatever was on its way.
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, to, cuts }
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// New connections go there; the others are cut.
    pub fn move_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
        self.cut();
    }
}
