//! The public methods of both front ends, with their documentation, written once.

/// Public verbs on nodes for a type that has `fn scope(&self) -> Scope<'_>`.
///
/// `$finish!` waits for a future: by parking the thread, or by `.await` in an `async fn`.
macro_rules! node_verbs {
    ($finish:ident $(, $async:tt)?) => {
        /// Reads a value. It may hold any bytes and may be empty.
        ///
        /// # Errors
        /// [`Error::NotFound`](crate::Error::NotFound) when the node does not exist,
        /// [`Error::PermissionDenied`](crate::Error::PermissionDenied), and whatever ends a
        /// connection.
        pub $($async)? fn read(&self, path: &str) -> crate::Result<Vec<u8>> {
            $finish!(self.scope().read(path))
        }

        /// Reads a value as text.
        ///
        /// # Errors
        /// As `read`, and [`Error::NotText`](crate::Error::NotText).
        pub $($async)? fn read_string(&self, path: &str) -> crate::Result<String> {
            $finish!(self.scope().read_string(path))
        }

        /// Reads a value, `None` when the node does not exist.
        ///
        /// # Errors
        /// As `read`, without the one for a missing node.
        pub $($async)? fn read_opt(&self, path: &str) -> crate::Result<Option<Vec<u8>>> {
            $finish!(self.scope().read_opt(path))
        }

        /// Reads a value as text, `None` when the node does not exist.
        ///
        /// # Errors
        /// As `read_string`, without the one for a missing node.
        pub $($async)? fn read_string_opt(&self, path: &str) -> crate::Result<Option<String>> {
            $finish!(self.scope().read_string_opt(path))
        }

        /// Writes a value, creating the node and its parents where they are missing.
        ///
        /// Path and value together must fit one message: 4096 bytes on a socket, 4080 through
        /// the kernel's device, less one byte that ends the path.
        ///
        /// # Errors
        /// [`Error::TooLong`](crate::Error::TooLong) before anything is sent; the server's own,
        /// such as `ENOSPC` for a quota.
        pub $($async)? fn write(&self, path: &str, value: impl AsRef<[u8]>) -> crate::Result<()> {
            $finish!(self.scope().write(path, value.as_ref()))
        }

        /// Creates a node, and its parents where they are missing. A node that exists stays as
        /// it is.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn mkdir(&self, path: &str) -> crate::Result<()> {
            $finish!(self.scope().mkdir(path))
        }

        /// Removes a node and everything below it. That it does not exist is no error, but that
        /// its parent does not is.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn rm(&self, path: &str) -> crate::Result<()> {
            $finish!(self.scope().rm(path))
        }

        /// Does the node exist? Found out by reading it.
        ///
        /// # Errors
        /// As `read_opt`: one that may not be read is an error, not absent.
        pub $($async)? fn exists(&self, path: &str) -> crate::Result<bool> {
            $finish!(self.scope().exists(path))
        }

        /// The names of a node's children, in the server's order, also of a node with more
        /// children than fit a message (`DIRECTORY_PART`).
        ///
        /// # Errors
        /// The server's; [`Error::Conflict`](crate::Error::Conflict) when a large directory
        /// changes faster than it can be read, [`Error::Unsupported`](crate::Error::Unsupported)
        /// when the server cannot list one in parts (oxenstored).
        pub $($async)? fn directory(&self, path: &str) -> crate::Result<Vec<String>> {
            $finish!(self.scope().directory(path))
        }

        /// A node's permissions, the owner's entry first.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn permissions(
            &self,
            path: &str,
        ) -> crate::Result<Vec<crate::Permission>> {
            $finish!(self.scope().permissions(path))
        }

        /// Replaces a node's permissions; the first entry names the owner and what all domains
        /// without an entry may do.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn set_permissions(
            &self,
            path: &str,
            permissions: &[crate::Permission],
        ) -> crate::Result<()> {
            $finish!(self.scope().set_permissions(path, permissions))
        }
    };
}
pub(crate) use node_verbs;

/// Public verbs on the server and on domains for a type that has a field `connection`.
macro_rules! server_verbs {
    ($finish:ident $(, $async:tt)?) => {
        /// Tells the server of a domain: its XenStore page's guest frame number and the event
        /// channel port in that domain. For toolstacks, in dom0 only.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn introduce(&self, domid: u16, frame: u64, port: u32) -> crate::Result<()> {
            $finish!(self.connection.introduce(domid, frame, port))
        }

        /// Makes the server forget a domain.
        ///
        /// # Errors
        /// The server's; `ENOENT` shows as [`Error::NotFound`](crate::Error::NotFound).
        pub $($async)? fn release(&self, domid: u16) -> crate::Result<()> {
            $finish!(self.connection.release(domid))
        }

        /// Makes the server report the next shutdown of a domain again, after a resume.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn resume(&self, domid: u16) -> crate::Result<()> {
            $finish!(self.connection.resume(domid))
        }

        /// A domain's home, `/local/domain/<domid>`. The domain need not exist.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn domain_path(&self, domid: u16) -> crate::Result<String> {
            $finish!(self.connection.domain_path(domid))
        }

        /// Is the server connected to this domain?
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn is_introduced(&self, domid: u16) -> crate::Result<bool> {
            $finish!(self.connection.is_introduced(domid))
        }

        /// Gives `domid` the rights `target` has, as a device model's domain needs them.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn set_target(&self, domid: u16, target: u16) -> crate::Result<()> {
            $finish!(self.connection.set_target(domid, target))
        }

        /// Sends a command to the server itself, such as `["help"]` or `["quota"]`. What exists
        /// differs from server to server.
        ///
        /// # Errors
        /// The server's.
        pub $($async)? fn control(&self, arguments: &[&str]) -> crate::Result<String> {
            $finish!(self.connection.control(arguments))
        }

        /// Ends all watches and transactions of this connection at the server. Watches held as
        /// values then stay silent; drop them.
        ///
        /// # Errors
        /// [`Error::Unsupported`](crate::Error::Unsupported) through the kernel's device, where
        /// it would hit the kernel's own drivers.
        pub $($async)? fn reset_watches(&self) -> crate::Result<()> {
            $finish!(self.connection.reset_watches())
        }

        /// What the server can do beyond the common ground.
        ///
        /// # Errors
        /// The server's, other than not knowing the question.
        pub $($async)? fn features(&self) -> crate::Result<crate::Features> {
            $finish!(self.connection.features())
        }
    };
}
pub(crate) use server_verbs;
