import Foundation

/// What a host has of the things Toro needs.
public struct Checkup: Sendable {
    /// What was looked for.
    public let subject: String
    /// What was found, or what to do.
    public let result: String
    /// Whether it is there.
    public let isFine: Bool
    /// Whether Toro cannot do without.
    public let isNeeded: Bool

    /// The Swift release that Toro is written for. Embedded Swift changes with each.
    public static let supportedSwift = "6.3"

    /// Looks at everything, and tries what serves a guest; `device` is the path of
    /// `toro-vsock-device`, if it was found. What builds images counts for a toro that `isBuilder`.
    public static func all(device: String?, isBuilder: Bool) -> [Checkup] {
        let builders =
            isBuilder
            ? [swift(), embedded(), program("llvm-objcopy", "for stripped images", needed: true)]
            : []
        return builders + [
            program("llvm-symbolizer", "for file and line in panic reports", needed: false),
            program("swift-demangle", "for names in panic reports", needed: false), qemu(),
            daemon(), vsock(device), acceleration(),
        ] + trials(device)
    }

    private static func swift() -> Checkup {
        let (path, answer): (String, String)
        do throws(LaunchError) {
            let swift = try SwiftCommand()
            (path, answer) = (swift.path, try swift.capture(["--version"]).output)
        } catch {
            return Checkup(
                subject: "Swift", result: error.description, isFine: false, isNeeded: true)
        }
        guard let start = answer.range(of: "Swift version ") else {
            return Checkup(
                subject: "Swift", result: "\(path) does not tell its version: \(answer)",
                isFine: false, isNeeded: true)
        }
        let version = answer[start.upperBound...].prefix { $0 != " " && $0 != "\n" }
        let isSupported = version == supportedSwift || version.hasPrefix(supportedSwift + ".")
        return Checkup(
            subject: "Swift",
            result: isSupported
                ? "\(version) in \(path)" : "\(version); Toro needs \(supportedSwift)",
            isFine: isSupported, isNeeded: true)
    }

    private static func embedded() -> Checkup {
        do throws(LaunchError) {
            return Checkup(
                subject: "Embedded Swift", result: try GuestSDK.runtimeFolder() + "/embedded",
                isFine: true, isNeeded: true)
        } catch {
            return Checkup(
                subject: "Embedded Swift", result: error.description, isFine: false, isNeeded: true)
        }
    }

    private static func program(_ name: String, _ purpose: String, needed: Bool) -> Checkup {
        let path = Command.findTool(name)
        return Checkup(
            subject: name, result: path ?? "not in PATH; \(purpose)", isFine: path != nil,
            isNeeded: needed)
    }

    private static func qemu() -> Checkup {
        do throws(LaunchError) {
            let path = try Machine.qemu()
            let answer = try Command.capture(path, ["--version"]).output
            let version = answer.split(separator: "\n").first.map(String.init) ?? "no version"
            return Checkup(
                subject: "QEMU", result: "\(version) in \(path)", isFine: true, isNeeded: true)
        } catch {
            return Checkup(
                subject: "QEMU", result: error.description, isFine: false, isNeeded: true)
        }
    }

    private static func daemon() -> Checkup {
        do throws(LaunchError) {
            return Checkup(
                subject: "virtiofsd", result: try FileDaemon.installed().path, isFine: true,
                isNeeded: true)
        } catch {
            return Checkup(
                subject: "virtiofsd", result: error.description, isFine: false, isNeeded: true)
        }
    }

    private static func vsock(_ device: String?) -> Checkup {
        Checkup(
            subject: "vsock device", result: device ?? "toro-vsock-device is not beside toro",
            isFine: device != nil, isNeeded: true)
    }

    private static func acceleration() -> Checkup {
        let result =
            switch Accelerator.Hardware.found {
            case .works:
                Accelerator.kvm.deviceAccess.isShared
                    ? "KVM: a virtual machine was made"
                    : "KVM; /dev/kvm is for root only, so QEMU stays root, without capabilities: "
                        + "chgrp kvm /dev/kvm && chmod 660 /dev/kvm"
            case .lacking: "TCG: the processor has no virtualization here, guests run slower"
            case .refused(EACCES):
                "TCG: /dev/kvm is not for this user: usermod -aG kvm USER, and log in again"
            case .refused(ENOENT): "TCG: there is no /dev/kvm: modprobe kvm_intel or kvm_amd"
            case .refused(let error): "TCG: /dev/kvm cannot be used: \(reason(error))"
            }
        return Checkup(
            subject: "acceleration", result: result,
            isFine: Accelerator.Hardware.found == .works, isNeeded: false)
    }

    /// Boots a guest of a few instructions with each of the things that can serve one.
    private static func trials(_ device: String?) -> [Checkup] {
        guard (try? Machine.qemu()) != nil else { return [] }
        var result = [trial("a guest", needed: true) { () throws(LaunchError) in try Trial.run() }]
        if (try? FileDaemon.installed()) != nil {
            result += [
                trial("a read-only share", needed: false) { () throws(LaunchError) in
                    try Trial.run(share: "ro")
                },
                trial("a writable share", needed: false) { () throws(LaunchError) in
                    try Trial.run(share: "rw")
                },
            ]
        }
        if let device {
            result.append(
                trial("a published port", needed: true) { () throws(LaunchError) in
                    try Trial.run(device: device)
                })
        }
        return result + [lowPorts()]
    }

    private static func trial(
        _ subject: String, needed: Bool, _ body: () throws(LaunchError) -> Int
    ) -> Checkup {
        do throws(LaunchError) {
            return Checkup(
                subject: subject, result: "tried, took \(try body()) ms", isFine: true,
                isNeeded: needed)
        } catch {
            return Checkup(
                subject: subject, result: error.description, isFine: false, isNeeded: needed)
        }
    }

    /// Whether a port below 1024 can be bound; one that is in use could be.
    private static func lowPorts() -> Checkup {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(file) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(80).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        // SAFETY: the structure is the length that the call is told.
        let isFine = unsafe withUnsafeBytes(of: &address) { raw in
            guard let base = raw.baseAddress else { return false }
            return unsafe bind(
                file, base.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count)) == 0
                || errno == EADDRINUSE
        }
        return Checkup(
            subject: "ports below 1024",
            result: isFine
                ? "can be published"
                : "need root or CAP_NET_BIND_SERVICE: sysctl -w "
                    + "net.ipv4.ip_unprivileged_port_start=80",
            isFine: isFine, isNeeded: false)
    }
}
