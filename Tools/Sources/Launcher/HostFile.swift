import Foundation

/// Files of the host, by names in which any byte may stand: see ``RawText``.
public enum HostFile {
    /// Why something could not be done with a file.
    struct Failure: Error {
        /// An `errno`.
        let code: Int32
        /// A process that waits for the file's file system and cannot be ended; 0 if there is none.
        var waiting: Int32 = 0
        /// What it means, for a file that was to be read.
        var reason: String {
            switch code {
            case EINVAL: "it is no regular file"
            default: Launcher.reason(code)
            }
        }
    }

    /// Writes a file anew.
    static func write(_ bytes: Data, to path: String) throws(Failure) {
        let file = try open(path, O_CREAT | O_WRONLY | O_TRUNC)
        defer { close(file) }
        guard writeAll(file, [UInt8](bytes)) else { throw Failure(code: errno) }
    }

    /// Gives a file another name, in place of what had it.
    static func rename(_ path: String, to target: String) throws(Failure) {
        let result = unsafe RawText.withCString(path) { old in
            unsafe RawText.withCString(target) { new in
                // SAFETY: both names are C strings for the call.
                unsafe Glibc.rename(old, new) == 0 ? 0 : errno
            }
        }
        guard result == 0 else { throw Failure(code: result) }
    }

    /// Makes a folder.
    static func makeFolder(_ path: String, mode: mode_t) throws(Failure) {
        let result = unsafe RawText.withCString(path) { name in
            // SAFETY: the name is a C string for the call.
            unsafe mkdir(name, mode) == 0 ? 0 : errno
        }
        guard result == 0 else { throw Failure(code: result) }
    }

    /// Removes a file if it is there.
    static func remove(_ path: String) {
        // SAFETY: the name is a C string for the call.
        _ = unsafe RawText.withCString(path) { unsafe unlink($0) }
    }

    /// Opens a file, close-on-exec; one that `O_CREAT` makes is everybody's to read.
    static func open(_ path: String, _ flags: Int32) throws(Failure) -> Int32 {
        let file = unsafe RawText.withCString(path) { name in
            // SAFETY: the name is a C string for the call.
            let file = unsafe Glibc.open(name, flags | O_CLOEXEC, 0o644)
            return file < 0 ? -errno : file
        }
        guard file >= 0 else { throw Failure(code: -file) }
        return file
    }
}

/// The path of what `path` leads to, without links and `..`, as the kernel finds it: `link/..` is
/// beside what the link leads to, whatever the words say. Nil if it leads nowhere.
public func realPath(_ path: String) -> String? {
    unsafe RawText.withCString(path) { path in
        // SAFETY: the path is a C string for the call, whose result is copied and freed.
        guard let found = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(found) }
        return unsafe RawText.string(cString: found)
    }
}

/// Whether `path` leads to what this process may execute.
public func isExecutable(_ path: String) -> Bool {
    // SAFETY: the name is a C string for the call.
    unsafe RawText.withCString(path) { unsafe access($0, X_OK) } == 0
}
