import Foundation

/// How the guest's instructions are executed.
public enum Accelerator: String, Sendable, CaseIterable {
    /// KVM where the processor and the host really have it, else TCG.
    case auto
    /// The host's hardware virtualization.
    case kvm
    /// QEMU's translator.
    case tcg
}

/// A microvm: what QEMU is told.
public struct Machine: Sendable {
    /// The image QEMU boots.
    public var image: String
    /// RAM, as ``MemorySize`` reads it.
    public var memory = "32M"
    /// Cores.
    public var cores = 1
    /// How instructions are executed.
    public var accelerator = Accelerator.auto
    /// What the service finds as its arguments.
    public var arguments: [String] = []
    /// What the service finds in its environment.
    public var environment: [(name: String, value: String)] = []
    /// The sockets of the virtio-fs back ends, by tag.
    public var shares: [(tag: String, socket: Socket)] = []
    /// The socket of the vsock back end.
    public var vsock: Socket?

    /// Where QEMU finds a back end.
    public enum Socket: Equatable, Sendable {
        /// A Unix socket that it connects to.
        case path(String)
        /// A connected descriptor that it inherits.
        case descriptor(Int32)

        var option: String {
            switch self {
            case .path(let path): "path=" + Machine.option(path)
            case .descriptor(let number): "fd=\(number)"
            }
        }
    }

    /// A machine that boots `image`.
    public init(image: String) { self.image = image }

    /// Throws if the guest cannot be told all of its arguments and environment.
    public func checkParameters() throws(LaunchError) { _ = try Handover.encode(self) }

    /// QEMU's arguments for a machine that `check` has let pass, but for what the guest is told (see `Handover`).
    public var qemuArguments: [String] {
        let accelerator = accelerator.resolved
        var line = [
            "-accel", accelerator.rawValue, "-cpu", accelerator == .kvm ? "host" : "max",
            "-M",
            "microvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=on,memory-backend=mem",
            "-m", memory, "-object", "memory-backend-memfd,id=mem,size=\(memory),share=on",
            "-smp", processors, "-kernel", image,
            "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            "-no-reboot", "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-device",
            "isa-debug-exit,iobase=0x501,iosize=4",
            "-global", "virtio-mmio.force-legacy=false",
        ]
        for (index, share) in shares.enumerated() {
            line += [
                "-chardev", "socket,id=fs\(index),\(share.socket.option)",
                "-device",
                "vhost-user-fs-device,chardev=fs\(index),tag=\(Machine.option(share.tag)),"
                    + "queue-size=128",
            ]
        }
        if let vsock {
            line += [
                "-chardev", "socket,id=vsock,\(vsock.option)",
                "-device", "vhost-user-vsock-device,chardev=vsock",
            ]
        }
        return line
    }

    /// What QEMU is told about processors.
    ///
    /// QEMU before 8.1 leaves the guest's memory barriers out of what TCG generates when there can
    /// be no more than one processor. The guest's rings are read by other processes all the same:
    /// without barriers a wake-up gets lost now and then, for ever. So one more is possible than
    /// there are; the guest is told of those that are there only.
    private var processors: String {
        accelerator.resolved == .tcg ? "cpus=\(cores),maxcpus=\(cores + 1)" : "cpus=\(cores)"
    }

    /// The guest's exit status from QEMU's: `isa-debug-exit` makes 2v+1 of the written v, and the
    /// guest writes its status plus one. Nil when QEMU itself failed or the guest was reset.
    public static func guestStatus(ofQEMU status: Int32) -> Int32? {
        guard status >= 3, status < 256, status % 2 == 1 else { return nil }
        return (status - 3) / 2
    }

    /// Runs the machine, its console captured, for `limit` seconds at most; `options` are further
    /// ones of QEMU.
    public func boot(
        limit: Double = 30, options: [String] = []
    ) throws(LaunchError) -> (status: Int32?, console: String) {
        let handover = try Handover(self)
        let ended = try Command.capture(
            Machine.qemu(), qemuArguments + handover.options + options, limit: limit,
            kept: handover.readers, onStart: handover.begin)
        return (Machine.guestStatus(ofQEMU: ended.status), ended.output)
    }

    /// The path of QEMU.
    public static func qemu() throws(LaunchError) -> String {
        guard let path = Command.find("qemu-system-x86_64") else {
            throw .missing(
                "qemu-system-x86_64 is not installed; on Debian: apt-get install qemu-system-x86")
        }
        return path
    }

    /// Doubles the commas, which separate the options of a QEMU argument.
    private static func option(_ text: String) -> String {
        text.replacingOccurrences(of: ",", with: ",,")
    }
}
