import Foundation

/// A folder of the host that a guest may see.
public struct Share: Equatable, Sendable {
    /// The name the guest asks for.
    public var tag: String
    /// The folder, an absolute path.
    public var folder: String
    /// Whether the guest may change it.
    public var isWritable: Bool

    /// Parses TAG=FOLDER or TAG=FOLDER:rw.
    public init(parsing text: String) throws(LaunchError) {
        guard let mark = text.firstIndex(of: "="), mark != text.startIndex else {
            throw .usage("--share takes TAG=FOLDER or TAG=FOLDER:rw, not \(text)")
        }
        tag = String(text[..<mark])
        guard tag.utf8.count <= 36 else {
            throw .usage("the tag \(tag) is longer than 36 bytes")
        }
        var path = String(text[text.index(after: mark)...])
        isWritable = path.hasSuffix(":rw")
        if isWritable { path.removeLast(3) }
        folder = URL(fileURLWithPath: path).standardizedFileURL.path
        var status = stat()
        // SAFETY: the path is a C string for the call, and the structure outlives it.
        guard unsafe stat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw .usage("the folder \(folder) of the share \(tag) does not exist")
        }
    }

    /// The program and arguments that serve the share on `socket`.
    ///
    /// The C virtiofsd has no read-only switch: the folder is bound read-only in a mount namespace
    /// of the daemon's own. Without root the namespace belongs to a user namespace, with a place
    /// for the daemon's pid file.
    func daemon(socket: String) throws(LaunchError) -> (program: String, arguments: [String]) {
        let folders = ["/usr/lib/qemu", "/usr/libexec", "/usr/lib", "/usr/libexec/qemu"]
        guard let daemon = Command.find("virtiofsd", extra: folders) else {
            throw .missing("virtiofsd is not installed; on Debian: apt-get install qemu-system-x86")
        }
        guard let unshare = Command.find("unshare", extra: ["/usr/bin"]) else {
            throw .missing("unshare is not installed; on Debian: apt-get install util-linux")
        }
        let isRoot = geteuid() == 0
        var script = "set -e; mount --make-rprivate /; "
        if !isRoot { script += "mount -t tmpfs tmpfs /run; " }
        if !isWritable {
            script += "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"; "
        }
        script += """
            if "$2" --help 2>&1 | grep -q -- --shared-dir; then
              exec "$2" --socket-path="$3" --shared-dir "$1" --cache=auto --sandbox=chroot
            fi
            exec "$2" --socket-path="$3" -o source="$1" -o cache=auto -o sandbox=chroot
            """
        var arguments = isRoot ? ["-m"] : ["-r", "-m"]
        arguments += ["setpriv", "--pdeathsig", "KILL"]
        arguments += ["sh", "-c", script, "sh", folder, daemon, socket]
        return (unshare, arguments)
    }
}
