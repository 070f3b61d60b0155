import CLauncher
import Foundation

/// Files that the user names. Their file system may answer nothing, as that of a network mount that
/// has lost its network: whoever asks it may wait for ever, and no signal ends that. So a process of
/// its own asks, and a signal ends the waiting for that one.
extension HostFile {
    /// Finds a file as the kernel does, and opens it to name it only: close-on-exec, with these flags
    /// of open(2) besides. `EINTR`: a signal came before its file system had answered.
    static func ask(_ path: String, _ flags: Int32 = 0) throws(Failure) -> toro_file {
        var file = toro_file()
        let code = unsafe RawText.withCString(path) { path in
            let question = toro_question(flags: flags, limit: 0, is_regular: 0)
            // SAFETY: the path is a C string for the call, and the structure outlives it.
            return unsafe toro_ask(path, question, &file, nil)
        }
        guard code == 0 else { throw Failure(code: code, waiting: file.waiting) }
        return file
    }

    /// The path that the kernel knows an open file by, without another question.
    private static func name(of descriptor: Int32) -> String? {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        // SAFETY: at most the array's length is written.
        let count = unsafe readlink("/proc/self/fd/\(descriptor)", &path, path.count)
        return count < 0
            ? nil : RawText.string(of: path.prefix(count).map { UInt8(bitPattern: $0) })
    }

    /// The bytes of a regular file; anything else is `EINVAL`, or `EISDIR`.
    static func contents(_ path: String) throws(Failure) -> Data {
        try contents(path, isRegular: true, limit: Int.max)
    }

    /// The bytes of a file of any kind but a folder, until its end; or more than `limit` of them.
    static func contents(
        _ path: String, isRegular: Bool = false, limit: Int
    ) throws(Failure) -> Data {
        var file = toro_file()
        var contents = unsafe toro_contents()
        let code = unsafe RawText.withCString(path) { path in
            let question = toro_question(flags: 0, limit: limit, is_regular: isRegular ? 1 : 0)
            // SAFETY: the path is a C string for the call, and the structures outlive it.
            return unsafe toro_ask(path, question, &file, &contents)
        }
        guard code == 0 else { throw Failure(code: code, waiting: file.waiting) }
        guard let bytes = unsafe contents.bytes else { return Data() }
        // SAFETY: the bytes are the data's from now on, which frees them.
        return unsafe Data(bytesNoCopy: bytes, count: contents.count, deallocator: .free)
    }

    /// What a file is (`S_IFMT`), or what a link there leads to if it `follows` one; nil if there is
    /// none that can be reached.
    static func kind(_ path: String, follows: Bool = true) throws(LaunchError) -> mode_t? {
        do throws(Failure) {
            let file = try ask(path, follows ? 0 : O_NOFOLLOW)
            close(file.descriptor)
            return file.mode & S_IFMT
        } catch {
            if let interruption = error.interruption(path) { throw interruption }
            return nil
        }
    }

    /// Whether `path` leads to a folder.
    public static func isFolder(_ path: String) throws(LaunchError) -> Bool {
        try kind(path) == S_IFDIR
    }

    /// Whether `path` leads to a file or a folder.
    public static func isThere(_ path: String) throws(LaunchError) -> Bool {
        try kind(path) != nil
    }

    /// What the function `realPath` says, of a path that the user names.
    public static func realPath(_ path: String) throws(LaunchError) -> String? {
        do throws(Failure) {
            let file = try ask(path)
            defer { close(file.descriptor) }
            return name(of: file.descriptor)
        } catch {
            if let interruption = error.interruption(path) { throw interruption }
            return nil
        }
    }
}

extension HostFile.Failure {
    /// What is said when a signal came before the file's file system had answered; nil if that is
    /// not what was wrong. `name` is what is called the file.
    func interruption(_ name: String) -> LaunchError? {
        guard code == EINTR else { return nil }
        let rest = waiting == 0 ? [] : [Part.stuck("a part of toro", waiting)]
        return .interrupted(["\(name) does not answer"] + rest)
    }
}
