import Foundation

/// A guest with the host processes that serve it: started together, ended together.
public final class Launch {
    private struct Part {
        let name: String
        let process: Process
    }

    private let folder: String
    private var parts: [Part] = []
    private var machine: Machine

    /// Prepares `machine` with back ends for its shares and ports; the run's sockets are in a
    /// folder of its own. `log` gets what the daemons say.
    public init(
        _ machine: Machine, shares: [Share], ports: [PublishedPort], device: String?,
        log: FileHandle = .standardError
    ) throws(LaunchError) {
        self.machine = machine
        _ = try Machine.qemu()
        let base = ProcessInfo.processInfo.environment["XDG_RUNTIME_DIR"] ?? "/tmp"
        var template = Array("\(base)/toro-XXXXXX".utf8CString)
        // SAFETY: mkdtemp writes within the NUL-terminated template.
        guard unsafe mkdtemp(&template) != nil else {
            throw LaunchError("cannot make a folder for the run's sockets in \(base)")
        }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        do throws(LaunchError) {
            for (index, share) in shares.enumerated() {
                let socket = "\(folder)/fs\(index)"
                let (program, arguments) = try share.daemon(socket: socket)
                try start("virtiofsd (share \(share.tag))", program, arguments, log)
                self.machine.shares.append((share.tag, socket))
            }
            if !ports.isEmpty {
                guard let device else { throw .missing("toro-vsock-device is not built") }
                let socket = "\(folder)/vsock"
                var arguments = ["--socket", socket]
                for port in ports { arguments += ["--publish", port.description] }
                try start("the vsock device", device, arguments, log)
                self.machine.vsock = socket
            }
            for index in parts.indices {
                let socket = index < shares.count ? "\(folder)/fs\(index)" : "\(folder)/vsock"
                try awaitSocket(socket, of: parts[index])
            }
        } catch {
            end()
            throw error
        }
    }

    /// Boots the guest, its console on `console`, and waits for its end; `limit` seconds at most.
    /// Returns the guest's exit status.
    public func run(
        console: FileHandle = .standardOutput, limit: Double? = nil
    ) throws(LaunchError) -> Int32 {
        defer { end() }
        let done = DispatchSemaphore(value: 0)
        for part in parts { part.process.terminationHandler = { _ in done.signal() } }
        try start("QEMU", try Machine.qemu(), machine.qemuArguments, .standardError, console) {
            done.signal()
        }
        guard let qemu = parts.last else { throw LaunchError("QEMU did not start") }
        let interrupts = [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { done.signal() }
            source.resume()
            return source
        }
        defer { interrupts.forEach { $0.cancel() } }
        let deadline = limit.map { DispatchTime.now() + $0 } ?? .distantFuture
        guard done.wait(timeout: deadline) == .success else {
            throw LaunchError("the guest did not end within \(limit ?? 0) seconds")
        }
        // QEMU goes first when the guest ends: give it a moment to be the one that is named.
        for _ in 0..<20 where qemu.process.isRunning { usleep(10_000) }
        if qemu.process.isRunning {
            if let dead = parts.first(where: { !$0.process.isRunning }) {
                throw LaunchError("\(dead.name) died with status \(dead.process.status)")
            }
            throw LaunchError("interrupted", status: 130)
        }
        guard let status = Machine.guestStatus(ofQEMU: qemu.process.status) else {
            throw LaunchError("QEMU ended with status \(qemu.process.status)")
        }
        return status
    }

    private func start(
        _ name: String, _ program: String, _ arguments: [String], _ log: FileHandle,
        _ output: FileHandle? = nil, ended: (@Sendable () -> Void)? = nil
    ) throws(LaunchError) {
        let process = Process()
        // The kernel ends a part when this process dies, however that happens.
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments = ["--pdeathsig", "KILL", program] + arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output ?? log
        process.standardError = log
        if let ended { process.terminationHandler = { _ in ended() } }
        do {
            try process.run()
        } catch {
            throw .missing("cannot start \(name): \(error.localizedDescription)")
        }
        parts.append(Part(name: name, process: process))
    }

    private func awaitSocket(_ path: String, of part: Part) throws(LaunchError) {
        for _ in 0..<2000 {
            if FileManager.default.fileExists(atPath: path) { return }
            guard part.process.isRunning else {
                throw LaunchError("\(part.name) ended with status \(part.process.status)")
            }
            usleep(5_000)
        }
        throw LaunchError("\(part.name) did not come up within 10 seconds")
    }

    /// Ends every part, the last started first, and removes the run's folder.
    private func end() {
        for part in parts.reversed() where part.process.isRunning {
            kill(part.process.processIdentifier, SIGTERM)
        }
        for _ in 0..<100 where parts.contains(where: { $0.process.isRunning }) { usleep(10_000) }
        for part in parts where part.process.isRunning {
            kill(part.process.processIdentifier, SIGKILL)
        }
        for part in parts { part.process.waitUntilExit() }
        parts.removeAll()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
