import Foundation
import Launcher
import LoadClient
import Testing
import ToroTesting

/// Debian's Linux in a microvm, with Tests/LinuxPeer/peer.c as its only program: the vsock device is
/// driven by Linux's own driver.
final class LinuxGuest: @unchecked Sendable {
    // SAFETY (@unchecked): everything that changes is touched under the condition's lock.

    /// What peer.c serves, by its port.
    enum Service: UInt32, CaseIterable {
        case echo = 1
        case pour = 2
        case take = 3
        case leave = 4
        case dawdle = 5
        case control = 6
        /// An echo that has room for 256 bytes, and a taker that has room for 4,096.
        case narrowEcho = 11
        case narrowTake = 13
    }

    private static let root = Images.root
    private let folder: TestFolder
    private let condition = NSCondition()
    private var console = ""
    private var announcements = ""
    private var ended: [String: Finished] = [:]

    /// Boots it, the device started with those options besides, and waits until it listens.
    init(_ options: [String] = []) throws {
        folder = try TestFolder()
        let image = try LinuxGuest.initialFiles.get()
        let socket = folder.path + "/vsock"
        try image.write(to: URL(fileURLWithPath: folder.path + "/initrd"))
        var arguments = ["--socket", socket, "--cid", "42", "--ready-fd", "1"] + options
        for service in Service.allCases { arguments += ["--publish", "0:\(service.rawValue)"] }
        let device = try #require(Images.device, "toro-vsock-device is not built")
        start("device", device, arguments) { [self] in announcements += $0 }
        try #require(waits { FileManager.default.fileExists(atPath: socket) }, "no device")
        start("QEMU", try Machine.qemu(), LinuxGuest.machine(folder.path)) { [self] in
            console += $0
        }
        let isUp = waits { [self] in
            condition.withLock {
                announcements.components(separatedBy: "ready ").count > Service.allCases.count
            }
        }
        try #require(isUp, "Linux does not listen: \(console) \(announcements)")
    }

    /// A connection to a service.
    func connect(_ service: Service) throws -> ClientSocket {
        let words = condition.withLock { announcements }.split(whereSeparator: \.isNewline)
        let line = words.first {
            $0.hasPrefix("ready ") && $0.hasSuffix(" \(service.rawValue)")
        }
        let name = try #require(line?.split(separator: " ")[1])
        return try ClientSocket(port: try #require(UInt16(name.split(separator: ":")[1])))
    }

    /// What the peer answers to a word on its control port.
    func ask(_ word: String) throws -> String {
        let socket = try connect(.control)
        defer { socket.close() }
        #expect(socket.send(word + "\n"))
        let answer = socket.receiveAll()
        return String(decoding: answer.bytes, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Ends it. Returns what became of QEMU and of the device.
    @discardableResult func end() -> (qemu: Finished?, device: Finished?) {
        _ = try? ask("off")
        _ = waits { [self] in condition.withLock { ended.count == 2 } }
        return condition.withLock { (ended["QEMU"], ended["device"]) }
    }

    /// The wait for something; false if it has not come in time.
    private func waits(for isThere: () -> Bool) -> Bool {
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        while !isThere() {
            if Date() > limit { return false }
            usleep(5_000)
        }
        return true
    }

    /// Runs a program on a thread of its own, with which it ends.
    private func start(
        _ name: String, _ program: String, _ arguments: [String],
        onOutput: @escaping @Sendable (String) -> Void
    ) {
        let condition = condition
        Thread.detachNewThread { [self] in
            let finished = try? Command.capture(program, arguments, limit: 400) { bytes in
                condition.withLock { onOutput(String(decoding: bytes, as: UTF8.self)) }
            }
            condition.withLock { ended[name] = finished }
        }
    }

    // MARK: The machine

    private static func machine(_ folder: String) -> [String] {
        // The clock's rate is told: Linux would measure it against a timer of the machine, and
        // hang there on a loaded host.
        let rate = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))
            .flatMap { $0.split(separator: "\n").first { $0.hasPrefix("cpu MHz") } }
            .flatMap { Double($0.split(separator: " ").last ?? "") }
        let accelerator = Accelerator.auto.resolved
        return [
            "-accel", accelerator.rawValue, "-cpu", accelerator == .kvm ? "host" : "max",
            "-M", "microvm,acpi=on,isa-serial=on,memory-backend=mem",
            "-m", "256M", "-object", "memory-backend-memfd,id=mem,size=256M,share=on",
            // A possible processor more than there is: see Machine.
            "-smp", "cpus=1,maxcpus=2",
            "-kernel", kernel + "/vmlinuz", "-initrd", folder + "/initrd", "-append",
            "console=ttyS0 quiet panic=-1 tsc_early_khz=\(Int((rate ?? 2000) * 1000))",
            "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            "-no-reboot", "-device", "isa-debug-exit,iobase=0x501,iosize=4",
            "-global", "virtio-mmio.force-legacy=false",
            "-chardev", "socket,id=vsock,path=\(folder)/vsock",
            "-device", "vhost-user-vsock-device,chardev=vsock",
        ]
    }

    private static let kernel = root + "/.build/linux-peer"

    /// What the kernel unpacks at its start: the modules in their order, and the program.
    private static let initialFiles = Result<Data, any Error> {
        guard FileManager.default.fileExists(atPath: kernel + "/vmlinuz") else {
            throw LaunchError(
                "the Linux kernel is missing that drives the vsock device: type "
                    + root + "/Tests/LinuxPeer/fetch")
        }
        var archive = Archive()
        archive.add("init", try program(), mode: 0o100755)
        archive.add("modules", Data(), mode: 0o040755)
        for number in 0..<6 {
            let path = kernel + "/modules/\(number)"
            archive.add(
                "modules/\(number)", try Data(contentsOf: URL(fileURLWithPath: path)),
                mode: 0o100644)
        }
        archive.add("TRAILER!!!", Data(), mode: 0)
        return archive.bytes
    }

    /// Compiles peer.c.
    private static func program() throws -> Data {
        guard let compiler = Command.findTool("clang") ?? Command.find("gcc") else {
            throw LaunchError.missing("clang is not in PATH; it comes with Swift")
        }
        let folder = try TestFolder()
        let built = try Command.capture(
            compiler,
            [
                "-O2", "-Wall", "-Werror", "-static", "-pthread", "-o", folder.path + "/init",
                root + "/Tests/LinuxPeer/peer.c",
            ])
        guard built.status == 0 else { throw LaunchError(built.output) }
        return try Data(contentsOf: URL(fileURLWithPath: folder.path + "/init"))
    }
}

/// A cpio archive in the format "newc", which Linux unpacks at its start
/// (Documentation/driver-api/early-userspace/buffer-format.rst).
private struct Archive {
    private(set) var bytes = Data()
    private var count = 0

    mutating func add(_ name: String, _ content: Data, mode: Int) {
        count += 1
        let fields = [count, mode, 0, 0, 1, 0, content.count, 0, 0, 0, 0, name.utf8.count + 1, 0]
        let digits = fields.map { field in
            let text = String(field, radix: 16)
            return String(repeating: "0", count: 8 - text.count) + text
        }
        bytes += Data(("070701" + digits.joined() + name + "\0").utf8)
        pad()
        bytes += content
        pad()
    }

    private mutating func pad() { bytes += Data(count: -bytes.count & 3) }
}
