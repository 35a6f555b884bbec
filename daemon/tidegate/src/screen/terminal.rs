//! The real terminal: taken over while the screen is shown, given back whatever happens.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::sync::mpsc;

use super::{View, draw};

/// How often the thread that waits for keys looks whether it is still wanted.
const KEY_POLL: Duration = Duration::from_millis(100);
/// How many keystrokes may wait; more are dropped, as nobody can have meant them.
const KEYS_WAITING_MAX: usize = 64;

/// The terminal while it shows the screen. Dropping it restores what was there before; so does a panic.
pub struct Terminal {
    inner: DefaultTerminal,
    unwanted: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    keys: mpsc::Receiver<KeyEvent>,
}

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When it cannot be put into raw mode, as when stdout is none.
    pub fn open() -> io::Result<Self> {
        // `try_init` also installs a panic hook that restores the terminal before the panic is printed.
        let inner = ratatui::try_init()?;
        let unwanted = Arc::new(AtomicBool::new(false));
        let (sender, keys) = mpsc::channel(KEYS_WAITING_MAX);
        let gone = Arc::clone(&unwanted);
        let reader = std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
            while !gone.load(Ordering::Relaxed) {
                match event::poll(KEY_POLL) {
                    Ok(false) => {}
                    Ok(true) => {
                        if let Ok(Event::Key(key)) = event::read()
                            && key.kind == KeyEventKind::Press
                        {
                            // A full queue loses the keystroke; a closed one means the screen is gone.
                            let _ = sender.try_send(key);
                        }
                    }
                    Err(_) => return,
                }
            }
        })?;
        Ok(Self { inner, unwanted, reader: Some(reader), keys })
    }

    /// Draws a frame.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn draw(&mut self, view: &View<'_>) -> io::Result<()> {
        self.inner.draw(|frame| draw::draw(view, frame.area(), frame.buffer_mut()))?;
        Ok(())
    }

    /// The next keystroke; pending for ever when the terminal gives none any more.
    pub async fn key(&mut self) -> KeyEvent {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // It ends within `KEY_POLL`, and must be gone before the shell reads the terminal again.
            drop(reader.join());
        }
        ratatui::restore();
    }
}
