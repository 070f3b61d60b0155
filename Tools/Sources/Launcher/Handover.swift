import CLauncher
import Foundation

/// What a guest is told: its arguments and environment, and the time. QEMU reads both from pipes and
/// offers them by its firmware configuration device, so that no command line shows them, whoever
/// may look at the processes of the host.
final class Handover {
    /// The most bytes that the environment and the arguments may take, 5 for each of them included.
    static let limit = 256 << 10

    /// What QEMU inherits.
    var readers: [Int32] { [parameters.reader, epoch.reader] }
    private let parameters: (reader: Int32, writer: Int32)
    private let epoch: (reader: Int32, writer: Int32)
    private let bytes: [UInt8]
    private var isOpen = true

    /// Prepares what `machine` says.
    init(_ machine: Machine) throws(LaunchError) {
        var bytes = try Handover.encode(machine)
        parameters = try makePipe()
        do throws(LaunchError) {
            epoch = try makePipe()
        } catch {
            close(parameters.reader)
            close(parameters.writer)
            throw error
        }
        // QEMU may run as another user by the time it opens them.
        for reader in [parameters.reader, epoch.reader] { _ = fchmod(reader, 0o444) }
        // The first byte behind what the pipe holds leaves when QEMU has begun to read.
        let room = Int(toro_narrow_pipe(parameters.writer))
        if bytes.count <= room {
            Handover.append(0, [UInt8](repeating: 0, count: room + 1 - bytes.count), to: &bytes)
        }
        self.bytes = bytes
    }

    deinit {
        guard isOpen else { return }
        for file in readers + [parameters.writer, epoch.writer] { close(file) }
    }

    /// What QEMU is told.
    var options: [String] {
        zip(["environment", "epoch"], readers).flatMap { name, reader in
            ["-fw_cfg", "name=opt/org.toro/\(name),file=/proc/self/fd/\(reader)"]
        }
    }

    /// Hands it over, once QEMU has been started, on a thread of its own.
    ///
    /// QEMU reads its files in their order when nearly all of it is ready, just before the guest
    /// runs: the time is taken when it has read most of the first.
    func begin() {
        isOpen = false
        for reader in readers { close(reader) }
        Thread.detachNewThread { [bytes, parameters, epoch] in
            // If QEMU ends before it reads, an error says so.
            var signals = sigset_t()
            // SAFETY: the set outlives the calls.
            _ = unsafe sigemptyset(&signals)
            _ = unsafe sigaddset(&signals, SIGPIPE)
            _ = unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
            _ = writeAll(parameters.writer, bytes)
            close(parameters.writer)
            var now = timespec()
            // SAFETY: the structure outlives the call.
            _ = unsafe clock_gettime(CLOCK_REALTIME, &now)
            _ = writeAll(
                epoch.writer, Handover.encode(seconds: now.tv_sec, nanoseconds: now.tv_nsec))
            close(epoch.writer)
        }
    }

    /// The time as Platform/microvm reads it: see `FirmwareFile.wallTime(in:)` there.
    static func encode(seconds: Int, nanoseconds: Int) -> [UInt8] {
        littleEndian(UInt32(1)) + littleEndian(UInt32(nanoseconds)) + littleEndian(Int64(seconds))
    }

    /// Arguments and environment as Platform/microvm reads them: see `LaunchParameters` there.
    static func encode(_ machine: Machine) throws(LaunchError) -> [UInt8] {
        var bytes = Array("toro".utf8) + littleEndian(UInt32(1))
        for entry in machine.environment {
            append(2, RawText.bytes(of: entry.name + "=" + entry.value), to: &bytes)
        }
        for argument in machine.arguments { append(1, RawText.bytes(of: argument), to: &bytes) }
        guard bytes.count <= limit else {
            throw .usage(
                "the service's environment and arguments take \(bytes.count) bytes, "
                    + "and a guest takes \(limit) at most")
        }
        return bytes
    }

    private static func append(_ kind: UInt8, _ entry: [UInt8], to bytes: inout [UInt8]) {
        bytes.append(kind)
        bytes += littleEndian(UInt32(truncatingIfNeeded: entry.count))
        bytes += entry
    }

    private static func littleEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        stride(from: 0, to: Value.bitWidth, by: 8).map {
            UInt8(truncatingIfNeeded: value >> Value($0))
        }
    }
}
