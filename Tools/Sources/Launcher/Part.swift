import CLauncher
import Foundation

/// A process of a run. The kernel kills it when the launcher dies, however that happens.
final class Part {
    /// What a message calls it.
    let name: String
    let pid: pid_t
    /// Polls readable when the process has ended.
    let ended: Int32
    /// What it last wrote to standard error, unless that went elsewhere.
    var lastWords: [UInt8] = []
    /// The descriptor its standard error is read from; -1 once it is closed.
    var errors: Int32
    private(set) var end: ProcessEnd?

    /// How to start a part.
    struct Start {
        var name: String
        var program: String
        var arguments: [String]
        /// What becomes its standard input; nil for nothing to read.
        var input: Int32?
        /// What becomes its standard output; nil for standard error's pipe.
        var output: Int32?
        /// What becomes its standard error; nil for a pipe that `readErrors` reads.
        var errors: Int32?
        /// Descriptors that it inherits under their numbers.
        var kept: [Int32] = []
        /// What it may see and do.
        var confinement = Confinement()
        /// Whether all that it starts ends with it (see toro_part); `signal(SIGTERM)` ends it.
        var isTree = false
    }

    /// Starts a process. The calling thread must live as long as the process is needed.
    convenience init(_ start: Start) throws(LaunchError) { try self.init(anyOf: [start]) }

    /// Starts a process in the first of several ways that the host has the namespaces and users for.
    convenience init(anyOf starts: [Start]) throws(LaunchError) {
        for start in starts.dropLast() {
            var failure = toro_failure()
            if let process = try Part.launch(start, &failure) {
                self.init(start, process)
                return
            }
            guard Part.lacksNamespace(failure) || Part.lacksUser(failure) else {
                throw Part.explain(failure, start)
            }
        }
        guard let last = starts.last else { throw LaunchError("there is nothing to start") }
        var failure = toro_failure()
        guard let process = try Part.launch(last, &failure) else {
            throw Part.explain(failure, last)
        }
        self.init(last, process)
    }

    private init(_ start: Start, _ process: (pid: pid_t, errors: Int32)) {
        name = start.name
        pid = process.pid
        errors = process.errors
        ended = toro_pidfd(pid)
        if errors >= 0 { _ = fcntl(errors, F_SETFL, O_NONBLOCK) }
    }

    /// Starts a process; nil, with what stopped it, if it did not.
    private static func launch(
        _ start: Start, _ failure: inout toro_failure
    ) throws(LaunchError) -> (pid: pid_t, errors: Int32)? {
        let pipe = start.errors == nil ? try makePipe() : nil
        defer { if let pipe { close(pipe.writer) } }
        // SAFETY: each word comes from strdup, and is freed once.
        let words =
            unsafe ([start.program] + start.arguments).map { word in
                unsafe RawText.withCString(word) { unsafe strdup($0) }
            } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        let pid = unsafe RawText.withCString(start.program) { program in
            unsafe start.kept.withUnsafeBufferPointer { kept in
                unsafe words.withUnsafeBufferPointer { words in
                    guard let words = words.baseAddress else { return pid_t(-1) }
                    // SAFETY: every pointer of the description outlives the call, which copies
                    // what the child needs by forking.
                    return unsafe Part.start(
                        program, words, kept, start, errors: start.errors ?? pipe?.writer ?? -1,
                        &failure)
                }
            }
        }
        guard pid > 0 else {
            if let pipe { close(pipe.reader) }
            return nil
        }
        return (pid, pipe?.reader ?? -1)
    }

    @unsafe private static func start(
        _ program: UnsafePointer<CChar>,
        _ words: UnsafePointer<UnsafeMutablePointer<CChar>?>,
        _ kept: UnsafeBufferPointer<Int32>, _ start: Start, errors: Int32,
        _ failure: inout toro_failure
    ) -> pid_t {
        let confinement = start.confinement
        let view = confinement.view
        var (namespace, user, group) = numbers(confinement.namespace)
        if let other = confinement.user { (user, group) = (other.user, other.group) }
        return unsafe (view?.place ?? "/").withCString { place in
            var part = unsafe toro_part(
                program: program, arguments: words,
                standard: (start.input ?? -1, start.output ?? errors, errors),
                kept: kept.baseAddress, kept_count: kept.count,
                namespace: Int32(namespace.rawValue), user: user, group: group,
                changes_user: confinement.user == nil ? 0 : 1,
                extra_group: confinement.user?.extraGroup ?? 0,
                is_powerless: confinement.isPowerless ? 1 : 0,
                folder: view?.folder.descriptor ?? -1, place: place,
                is_read_only: view?.isReadOnly == true ? 1 : 0,
                is_restricted: confinement.isRestricted ? 1 : 0,
                changes_nothing: confinement.changesNothing ? 1 : 0, is_tree: start.isTree ? 1 : 0)
            return unsafe toro_start(&part, &failure)
        }
    }

    private static func numbers(
        _ namespace: Confinement.Namespace
    ) -> (toro_namespace, user: UInt32, group: UInt32) {
        switch namespace {
        case .none: (TORO_NAMESPACE_NONE, 0, 0)
        case .mounts: (TORO_NAMESPACE_MOUNTS, 0, 0)
        case .oneUser(let user, let group): (TORO_NAMESPACE_ONE_USER, user, group)
        case .allUsers: (TORO_NAMESPACE_ALL_USERS, 0, 0)
        }
    }

    /// Whether it was the host that gave no namespace, or gave one without power.
    private static func lacksNamespace(_ failure: toro_failure) -> Bool {
        let stage = UInt32(bitPattern: failure.stage)
        return stage == TORO_STAGE_NAMESPACE.rawValue
            || stage == TORO_STAGE_FOLDER.rawValue && [EPERM, EACCES].contains(failure.error)
    }

    /// Whether it was that there is no such user here, or that one may not become it.
    private static func lacksUser(_ failure: toro_failure) -> Bool {
        UInt32(bitPattern: failure.stage) == TORO_STAGE_USER.rawValue
    }

    private static func explain(_ failure: toro_failure, _ start: Start) -> LaunchError {
        let reason = reason(failure.error)
        if lacksNamespace(failure) {
            return LaunchError(
                "cannot give \(start.name) a view of its own: \(reason).\n\(NamespaceAdvice.text).")
        }
        switch UInt32(bitPattern: failure.stage) {
        case TORO_STAGE_FOLDER.rawValue:
            return LaunchError(
                "cannot give \(start.name) its folder: \(reason) (this needs Linux 5.12)")
        case TORO_STAGE_FILTER.rawValue:
            return LaunchError(
                "cannot restrict \(start.name): \(reason) (this needs seccomp filters)")
        case TORO_STAGE_EXEC.rawValue
        where failure.error == EACCES && start.confinement.user != nil:
            return LaunchError(
                "cannot start \(start.name) (\(start.program)): it runs as a user of its own, and the "
                    + "program is not for all users to read and execute")
        case TORO_STAGE_EXEC.rawValue:
            return .missing("cannot start \(start.name) (\(start.program)): \(reason)")
        default:
            return LaunchError("cannot start \(start.name): \(reason)")
        }
    }

    /// Asks whether the process has ended.
    func reap() -> ProcessEnd? {
        if let end { return end }
        var status: Int32 = 0
        // SAFETY: the status outlives the call.
        guard unsafe waitpid(pid, &status, WNOHANG) == pid else { return nil }
        end = ProcessEnd(waitStatus: status)
        return end
    }

    /// Sends a signal, unless the process has ended.
    func signal(_ number: Int32) {
        if reap() == nil { kill(pid, number) }
    }

    /// Takes what it wrote to standard error, of which the last 4 KiB are kept.
    func readErrors() {
        while errors >= 0, let bytes = readSome(errors) {
            if bytes.isEmpty {
                close(errors)
                errors = -1
            }
            lastWords = (lastWords + bytes).suffix(4096)
        }
    }

    deinit {
        if errors >= 0 { close(errors) }
        if ended >= 0 { close(ended) }
    }
}

/// How a process ended.
public enum ProcessEnd: Equatable, Sendable, CustomStringConvertible {
    /// It exited with a status.
    case exited(Int32)
    /// A signal ended it.
    case killed(Int32)

    /// The exit status as a shell gives it: 128 + n after signal n.
    var status: Int32 {
        switch self {
        case .exited(let status): status
        case .killed(let signal): 128 + signal
        }
    }

    init(waitStatus: Int32) {
        let signal = waitStatus & 0x7f
        self = signal == 0 ? .exited(waitStatus >> 8 & 0xff) : .killed(signal)
    }

    /// "with status 1", "by signal 9 (Killed)".
    public var description: String {
        switch self {
        case .exited(let status): "with status \(status)"
        case .killed(let signal): "by signal \(signal) (\(name(ofSignal: signal)))"
        }
    }
}

/// What an errno means.
func reason(_ error: Int32) -> String {
    // SAFETY: strerror returns a C string, which is copied at once.
    unsafe String(cString: strerror(error))
}

/// What an error of Foundation's means: what the system said, if it did.
func reason(_ error: any Error) -> String {
    guard let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? any Error,
        (cause as NSError).domain == NSPOSIXErrorDomain
    else { return error.localizedDescription }
    return reason(Int32((cause as NSError).code))
}

private func name(ofSignal number: Int32) -> String {
    // SAFETY: strsignal returns a C string, which is copied at once.
    unsafe String(cString: strsignal(number))
}

/// A close-on-exec pipe.
func makePipe() throws(LaunchError) -> (reader: Int32, writer: Int32) {
    var ends: [Int32] = [-1, -1]
    // SAFETY: the call fills in the two elements.
    let error = unsafe toro_pipe(&ends)
    guard error == 0 else { throw LaunchError("cannot make a pipe: \(reason(error))") }
    return (ends[0], ends[1])
}

/// What can be read now: nothing at the end, nil if there is nothing yet.
func readSome(_ file: Int32) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 16384)
    // SAFETY: at most the array's length is written.
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
    if count < 0 { return errno == EAGAIN || errno == EINTR ? nil : [] }
    return Array(bytes.prefix(count))
}

/// Writes all bytes, and waits for a reader that is slow; false if it is gone.
func writeAll(_ file: Int32, _ bytes: [UInt8]) -> Bool {
    var done = 0
    while done < bytes.count {
        // SAFETY: the pointer and the length stay within the array.
        let count = unsafe bytes[done...].withUnsafeBytes {
            unsafe write(file, $0.baseAddress, $0.count)
        }
        if count >= 0 {
            done += count
        } else if errno == EAGAIN {
            awaitEvents([pollfd(fd: file, events: Int16(POLLOUT), revents: 0)])
        } else if errno != EINTR {
            return false
        }
    }
    return true
}
