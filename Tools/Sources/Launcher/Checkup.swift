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

    /// Looks at everything; `device` is the path of `toro-vsock-device`, if it was found.
    public static func all(device: String?) -> [Checkup] {
        [
            swift(), embedded(), program("llvm-objcopy", "for stripped images", needed: true),
            program("llvm-symbolizer", "for file and line in panic reports", needed: false),
            program("swift-demangle", "for names in panic reports", needed: false), qemu(),
            daemon(), vsock(device), acceleration(), shares(),
        ]
    }

    private static func swift() -> Checkup {
        guard let path = Command.find("swift"),
            let answer = try? Command.capture(path, ["--version"]).output,
            let start = answer.range(of: "Swift version ")
        else {
            return Checkup(
                subject: "Swift", result: "install Swift \(supportedSwift) from swift.org/install",
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
        let isKVM = Accelerator.auto.resolved == .kvm
        return Checkup(
            subject: "acceleration",
            result: isKVM ? "KVM" : "TCG: no usable hardware virtualization, guests run slower",
            isFine: isKVM, isNeeded: false)
    }

    /// A read-only share needs a mount namespace, and for a user who is not root a user namespace.
    private static func shares() -> Checkup {
        let limit = try? String(
            contentsOfFile: "/proc/sys/user/max_user_namespaces", encoding: .utf8)
        let count = limit.flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) } ?? 0
        let isFine = geteuid() == 0 || count > 0
        return Checkup(
            subject: "read-only shares",
            result: isFine
                ? geteuid() == 0 ? "a mount namespace, as root" : "a user namespace, without root"
                : "user namespaces are off: sysctl user.max_user_namespaces=10000",
            isFine: isFine, isNeeded: false)
    }
}
