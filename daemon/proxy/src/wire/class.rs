//! Which requests are reads: GET, HEAD, OPTIONS and the endpoints that search by POST.

use super::Method;

/// Reads and writes can have different weights, and only writes must be captured before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It changes nothing.
    Read,
    /// It may change something; so is everything that is not known to be a read.
    Write,
}

/// The endpoints that only read although they are asked by POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPaths {
    endings: Vec<Vec<String>>,
}

impl ReadPaths {
    /// The class of a request, by its method and its path (without query).
    pub fn class(&self, method: Method, path: &[u8]) -> Class {
        let _ = (method, path, &self.endings);
        unimplemented!()
    }
}

impl Default for ReadPaths {
    /// The built-in list.
    fn default() -> Self {
        Self { endings: Vec::new() }
    }
}
