import CLauncher
import Foundation

/// A guest with the host processes that serve it: started together, ended together.
///
/// The back ends' sockets have a path for an instant only: the launcher connects to them itself and
/// hands the descriptors on, so that not even its own sudden death leaves a file behind. Use it on
/// one thread, which must live as long as the run does.
public final class Launch {
    /// Called when the service listens on a published port.
    public var onReady: (PublishedPort) -> Void = { _ in }
    /// Called with the last words of a guest that panicked.
    public var onPanic: (PanicReport) -> Void = { _ in }
    /// Whether SIGINT, SIGTERM and SIGHUP to this process end the run.
    public var handlesSignals = false

    /// Ends the run from any thread, as SIGTERM to this process would.
    public var stop: @Sendable () -> Void {
        let signals = signals
        return { signals.send(SIGTERM) }
    }

    private let signals: SignalPipe
    let log: FileHandle?
    var parts: [Part] = []
    var machine: Machine
    /// Listeners whose back end has not accepted the connection yet.
    var unanswered: [(part: Part, listener: Int32)] = []
    /// Descriptors that QEMU inherits.
    var inherited: [Int32] = []
    /// What the vsock device says about ports.
    var announcements: PortAnnouncements?

    /// How long a back end may take to come up, in seconds.
    static let patience = 10.0

    /// Prepares `machine` with back ends for its shares and ports; `device` is the path of
    /// `toro-vsock-device`, which keeps `bufferSize` bytes for each client. `log` gets what the parts write to standard error; without it their
    /// last words are part of the message if one dies.
    public init(
        _ machine: Machine, shares: [Share], ports: [PublishedPort], device: String?,
        bufferSize: UInt32? = nil, log: FileHandle? = nil
    ) throws(LaunchError) {
        self.machine = machine
        self.log = log
        signals = try SignalPipe()
        _ = try Machine.qemu()
        let folder = try RunFolder()
        defer { folder.remove() }
        do throws(LaunchError) {
            for share in shares { try serve(share, in: folder) }
            if !ports.isEmpty {
                let options = bufferSize.map { ["--buffer-size", String($0)] } ?? []
                try publish(ports, device: device, options, in: folder)
            }
        } catch {
            end()
            throw error
        }
    }

    private func serve(_ share: Share, in folder: RunFolder) throws(LaunchError) {
        var listener: Int32 = -1
        var connection: Int32 = -1
        // SAFETY: both results outlive the call.
        let error = unsafe toro_socket_pair_by_path(
            folder.path + "/fs", &listener, &connection)
        guard error == 0 else {
            throw LaunchError("cannot make a socket: \(reason(error))")
        }
        inherited.append(connection)
        let part: Part
        do throws(LaunchError) {
            part = try Part(share.daemon(listener: listener))
        } catch {
            close(listener)
            throw error
        }
        parts.append(part)
        unanswered.append((part, listener))
        machine.shares.append((share.tag, .descriptor(connection)))
    }

    private func publish(
        _ ports: [PublishedPort], device: String?, _ options: [String], in folder: RunFolder
    ) throws(LaunchError) {
        guard let device else {
            throw .missing("toro-vsock-device is not beside toro: published ports need it")
        }
        let socket = folder.path + "/vsock"
        let (reader, writer) = try makePipe()
        defer { close(writer) }
        _ = fcntl(reader, F_SETFL, O_NONBLOCK)
        let announcements = PortAnnouncements(ports: ports, reader: reader)
        self.announcements = announcements
        var arguments = ["--socket", socket, "--cid", "3", "--ready-fd", String(writer)] + options
        for port in ports { arguments += ["--publish", port.description] }
        let part = try Part(
            Part.Start(
                name: "the vsock device", program: device,
                arguments: arguments, kept: [writer]))
        parts.append(part)
        let deadline = ContinuousClock.now + .seconds(Launch.patience)
        var connection: Int32 = -1
        while connection < 0 || !announcements.areAllBound {
            announcements.read()
            // SAFETY: the path is a C string for the call.
            if connection < 0 { connection = unsafe toro_connect(socket) }
            if let ended = part.reap() { throw died(part, ended) }
            guard ContinuousClock.now < deadline else { throw Launch.late(part) }
            if connection < 0 || !announcements.areAllBound { usleep(1000) }
        }
        // SAFETY: the path is a C string for the call.
        _ = unsafe unlink(socket)
        inherited.append(connection)
        machine.vsock = .descriptor(connection)
    }

    /// The process ids of the parts that run, by name; for tests that end one.
    public var processes: [(name: String, pid: Int32)] { parts.map { ($0.name, $0.pid) } }

    /// Boots the guest, its console on `console`, and waits for its end; `limit` seconds at most.
    /// Returns the guest's exit status.
    public func run(
        console: FileHandle = .standardOutput, limit: Double? = nil
    ) throws(LaunchError) -> Int32 {
        defer { end() }
        let (output, writer) = try makePipe()
        defer { close(output) }
        _ = fcntl(output, F_SETFL, O_NONBLOCK)
        let qemu = try startQEMU(output: writer)
        closeInherited()
        if handlesSignals { signals.catchSignals() }
        defer { if handlesSignals { signals.release() } }
        let pass = ConsolePass(from: output, to: console.fileDescriptor)
        defer { if let report = pass.report() { onPanic(report) } }
        let ended = try watch(qemu, pass, signals, limit: limit)
        pass.drain()
        for part in parts where part !== qemu {
            if case .killed = part.reap() { throw died(part, part.reap()) }
        }
        guard case .exited(let code) = ended else { throw died(qemu, ended) }
        guard let status = Machine.guestStatus(ofQEMU: code) else {
            if code != 0 { throw died(qemu, ended) }
            throw LaunchError("the guest reset the machine, or QEMU was told to quit")
        }
        return status
    }

    private func startQEMU(output: Int32) throws(LaunchError) -> Part {
        defer { close(output) }
        let qemu = try Part(
            Part.Start(
                name: "QEMU", program: Machine.qemu(), arguments: machine.qemuArguments,
                output: output, kept: inherited))
        parts.append(qemu)
        return qemu
    }

    func closeInherited() {
        for descriptor in inherited { close(descriptor) }
        inherited.removeAll()
    }

    /// A message for a part that ended when it should not have.
    func died(_ part: Part, _ end: ProcessEnd?) -> LaunchError {
        part.readErrors()
        let words = String(decoding: part.lastWords, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let manner = end?.description ?? ""
        return LaunchError(
            "\(part.name) ended \(manner)" + (words.isEmpty ? "" : ":\n" + words))
    }

    static func late(_ part: Part) -> LaunchError {
        LaunchError("\(part.name) did not come up within \(Int(patience)) seconds")
    }

    /// Ends every part, QEMU first.
    func end() {
        closeInherited()
        for waiting in unanswered { close(waiting.listener) }
        unanswered.removeAll()
        announcements = nil
        for part in parts.reversed() { part.signal(SIGTERM) }
        let deadline = ContinuousClock.now + .seconds(1)
        while parts.contains(where: { $0.reap() == nil }), ContinuousClock.now < deadline {
            var waits = parts.filter { $0.reap() == nil }
                .map { pollfd(fd: $0.ended, events: Int16(POLLIN), revents: 0) }
            // SAFETY: the count is the array's.
            _ = unsafe poll(&waits, nfds_t(waits.count), 100)
        }
        for part in parts where part.reap() == nil { kill(-part.pid, SIGKILL) }
        for part in parts { part.awaitEnd() }
        parts.removeAll()
    }
}

/// The folder where a run's sockets are for an instant, for its user only.
struct RunFolder {
    let path: String

    init() throws(LaunchError) {
        let wanted = ProcessInfo.processInfo.environment["XDG_RUNTIME_DIR"] ?? "/tmp"
        // A Unix socket's path has 107 bytes at most.
        for base in [wanted, "/tmp"] where base.utf8.count < 80 {
            var template = Array("\(base)/toro-XXXXXX".utf8CString)
            // SAFETY: mkdtemp writes within the NUL-terminated template.
            if unsafe mkdtemp(&template) != nil {
                path = String(
                    decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
                return
            }
        }
        throw LaunchError("cannot make a folder for the run's sockets in \(wanted) or /tmp")
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
