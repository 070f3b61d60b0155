import Foundation

/// The virtiofsd of this host. There are two generations with different options: QEMU's own in C,
/// up to QEMU 7.2, and the Rust one that followed it.
public struct FileDaemon: Sendable {
    /// Which virtiofsd it is.
    public enum Generation: Sendable { case c, rust }

    /// Its path.
    public let path: String
    /// What options it takes.
    public let generation: Generation
    /// Whether it can serve a folder read-only by itself: the Rust one since 1.13.
    let hasReadOnly: Bool

    /// The folders where distributions put it, beside `PATH`.
    static let folders = ["/usr/libexec", "/usr/lib", "/usr/lib/qemu", "/usr/libexec/qemu"]

    /// The installed one; the Rust one if there are both.
    public static func installed() throws(LaunchError) -> FileDaemon {
        guard let path = Command.find("virtiofsd", extra: folders) else {
            throw .missing(
                """
                virtiofsd is not installed; on Debian 13, Ubuntu 24.04 and later: \
                apt-get install virtiofsd; before: apt-get install qemu-system-x86
                """)
        }
        return FileDaemon(path: path, help: try Command.capture(path, ["--help"], limit: 10).output)
    }

    init(path: String, help: String) {
        self.path = path
        generation = help.contains("--shared-dir") ? .rust : .c
        hasReadOnly = help.contains("--readonly")
    }

    /// The arguments that serve `folder` to whoever connects to the socket `listener`. The daemon
    /// is root in its namespace, and confined to the folder by chroot. One that `isPowerful`, being
    /// root outside too, gives up what would let set-id bits survive or devices be made.
    func arguments(
        folder: String, listener: Int32, isReadOnly: Bool, isPowerful: Bool
    ) -> [String] {
        let lost = "modcaps=-mknod:-fsetid:-setfcap"
        switch generation {
        case .c:
            return [
                "--fd=\(listener)", "-o", "source=\(folder)", "-o", "cache=auto",
                "-o", "sandbox=chroot",
            ] + (isPowerful ? ["-o", lost] : [])
        case .rust:
            return [
                "--fd=\(listener)", "--shared-dir", folder, "--cache=auto", "--sandbox=chroot",
            ] + (isReadOnly && hasReadOnly ? ["--readonly"] : [])
                + (isPowerful ? ["--" + lost] : [])
        }
    }
}
