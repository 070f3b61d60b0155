import CLauncher
import Foundation

/// A guest with the host processes that serve it: started together, ended together.
///
/// The back ends' sockets have a path for an instant only: the launcher connects to them itself,
/// removes the path and hands the descriptors on. So nothing is left behind by an error or a signal
/// at any time, nor by the launcher's sudden death once the guest boots. Use it on one thread, which
/// must live as long as the run does.
public final class Launch {
    /// Whether control sequences of the guest reach a terminal. Text, tabs, line ends and colours do,
    /// and what is no terminal gets every byte.
    public var isRaw = false
    /// Called when the service listens on a published port.
    public var onReady: (PublishedPort) -> Void = { _ in }
    /// Called when it has not in the time it has; it may yet.
    public var onSilent: (PublishedPort) -> Void = { _ in }
    /// Called when the guest's turn at its ports is over, and so is its last connection.
    var onLeft: () -> Void = {}
    /// Called with the last words of a guest that panicked.
    public var onPanic: (PanicReport) -> Void = { _ in }
    /// Called with words about a part that nothing ends, so that it outlives the run.
    public var onStuck: (String) -> Void = { _ in }

    /// Ends the run from any thread, as SIGTERM to a process that watches `Interrupts` would.
    public var stop: @Sendable () -> Void {
        let request = stopRequest
        return { request.call() }
    }

    let stopRequest: Wakeup
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
    /// `toro-vsock-device`, and `limits` are its options. The last words of a part that dies are
    /// part of the message.
    public convenience init(
        _ machine: Machine, shares: [Share], ports: [PublishedPort], device: String?,
        limits: PortLimits = PortLimits()
    ) throws(LaunchError) {
        var listening: [ListeningPort] = []
        for port in ports { listening.append(try ListeningPort(port)) }
        try self.init(
            machine, shares: shares, listening: listening, device: device, limits: limits)
    }

    /// The same at ports where the host listens already. The guest takes their clients from the first
    /// byte that can be read from `turn`, a pipe, until that ends; without one, all the time.
    init(
        _ machine: Machine, shares: [Share], listening ports: [ListeningPort], device: String?,
        limits: PortLimits, turn: Int32? = nil
    ) throws(LaunchError) {
        self.machine = machine
        stopRequest = try Wakeup()
        // Whatever may be missing or too much is looked for before anything is started.
        try machine.check(shares: shares.count, ports: ports.count)
        self.machine.memory = try MemorySize(parsing: machine.memory).description
        _ = try Machine.qemu()
        let daemon = shares.isEmpty ? nil : try FileDaemon.installed()
        do throws(LaunchError) {
            if let daemon { for share in shares { try serve(share, daemon) } }
            if !ports.isEmpty {
                try publish(ports, device: device, limits.options, turn)
            }
        } catch {
            throw error.with(end())
        }
    }

    private func serve(_ share: Share, _ daemon: FileDaemon) throws(LaunchError) {
        try Interrupts.check()
        let (listener, connection) = try socketPair()
        inherited.append(connection)
        defer { withExtendedLifetime(share) {} }
        let part: Part
        do throws(LaunchError) {
            part = try Part(anyOf: share.starts(daemon, listener: listener))
        } catch {
            close(listener)
            throw error
        }
        parts.append(part)
        unanswered.append((part, listener))
        machine.shares.append((share.tag, .descriptor(connection)))
    }

    /// A listening socket and a connection to it. Their path is gone again on return.
    private func socketPair() throws(LaunchError) -> (listener: Int32, connection: Int32) {
        let folder = try RunFolder()
        defer { folder.remove() }
        var listener: Int32 = -1
        var connection: Int32 = -1
        // SAFETY: the path is a C string for the call, which both results outlive.
        let error = unsafe RawText.withCString(folder.socket) { path in
            unsafe toro_socket_pair_by_path(path, &listener, &connection)
        }
        guard error == 0 else { throw LaunchError("cannot make a socket: \(reason(error))") }
        return (listener, connection)
    }

    private func publish(
        _ ports: [ListeningPort], device: String?, _ options: [String], _ turn: Int32?
    ) throws(LaunchError) {
        guard let device else {
            throw .missing("toro-vsock-device is not beside toro: published ports need it")
        }
        let (reader, writer) = try makePipe()
        defer { close(writer) }
        _ = fcntl(reader, F_SETFL, O_NONBLOCK)
        let announcements = PortAnnouncements(ports: ports.map(\.port), reader: reader)
        self.announcements = announcements
        // The device binds the path itself, so that it lasts until the device has come up.
        let folder = try RunFolder()
        defer { folder.remove() }
        var arguments = [
            "--socket", folder.socket, "--cid", "3", "--ready-fd", String(writer),
        ]
        arguments += options
        for port in ports { arguments += ["--publish", port.option] }
        if let turn { arguments += ["--turn-fd", String(turn)] }
        let part = try Part(
            Part.Start(
                name: "the vsock device", program: device, arguments: arguments,
                kept: [writer] + ports.flatMap(\.files) + (turn.map { [$0] } ?? [])))
        parts.append(part)
        let deadline = ContinuousClock.now + .seconds(Launch.patience)
        var connection: Int32 = -1
        while true {
            // SAFETY: the path is a C string for the call.
            connection = unsafe RawText.withCString(folder.socket) { unsafe toro_connect($0) }
            if connection >= 0 { break }
            if let ended = part.reap() { throw died(part, ended) }
            try Interrupts.check()
            guard ContinuousClock.now < deadline else { throw Launch.late(part) }
            let next = ContinuousClock.now + .milliseconds(1)
            awaitReadable([part.ended, Interrupts.reader], until: next)
        }
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
        defer { for words in end() { onStuck(words) } }
        let (output, writer) = try makePipe()
        defer { close(output) }
        _ = fcntl(output, F_SETFL, O_NONBLOCK)
        let qemu = try startQEMU(output: writer)
        closeInherited()
        let pass = ConsolePass(from: output, to: console.fileDescriptor, isRaw: isRaw)
        defer { if let report = pass.report() { onPanic(report) } }
        let ended = try watch(qemu, pass, limit: limit)
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
        let image = try SealedFile(copying: machine.image)
        machine.image = image.path
        let handover = try Handover(machine)
        let start = Part.Start(
            name: "QEMU", program: try Machine.qemu(),
            arguments: machine.qemuArguments + handover.options, output: output,
            kept: inherited + image.inherited + handover.readers)
        let needs = machine.accelerator.resolved.deviceAccess
        let starts = start.unprivileged(extraGroup: needs.group, mayChangeUser: needs.isShared)
        defer { withExtendedLifetime(image) {} }
        let qemu = try Part(anyOf: starts)
        handover.begin()
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

    /// Ends every part, QEMU first. Returns words about those that nothing ends.
    private func end() -> [String] {
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
        let stuck = Part.awaitEnds(of: parts)
        parts.removeAll()
        return stuck
    }
}

/// The folder where a socket is for an instant, for its user only.
struct RunFolder {
    private let folder: TemporaryFolder

    /// Its path.
    var path: String { folder.path }

    /// Where the socket goes.
    var socket: String { path + "/socket" }

    init() throws(LaunchError) {
        // A Unix socket's path has 107 bytes at most.
        let room = Int32(108 - "/socket".utf8.count)
        folder = try TemporaryFolder(inAnyOf: ["XDG_RUNTIME_DIR", "TMPDIR"], room: room)
    }

    /// Removes the folder, and the socket if it is there.
    func remove() { folder.remove() }
}
