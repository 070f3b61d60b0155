import CLauncher
import Foundation

extension Accelerator {
    /// Whether this host has hardware virtualization for this process.
    enum Hardware: Equatable, Sendable {
        /// A virtual machine could be made.
        case works
        /// The processor has none. A `/dev/kvm` all the same is a software KVM, which is thousands
        /// of times slower than TCG.
        case lacking
        /// It could not be used, for the reason that an `errno` says.
        case refused(Int32)

        /// What was found out when it was first asked for.
        static let found: Hardware = {
            let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
            let words = text.split(whereSeparator: { $0 == " " || $0 == "\n" })
            guard words.contains(where: { $0 == "vmx" || $0 == "svm" }) else { return .lacking }
            let error = toro_try_kvm()
            return error == 0 ? .works : .refused(error)
        }()
    }

    /// KVM or TCG: KVM where a virtual machine could be made with hardware.
    public var resolved: Accelerator {
        guard self == .auto else { return self }
        return Hardware.found == .works ? .kvm : .tcg
    }

    /// What a process needs to use it that is not root: a group (0 for none), unless its device is
    /// for root only.
    var deviceAccess: (isShared: Bool, group: UInt32) {
        guard resolved == .kvm else { return (true, 0) }
        var status = stat()
        // SAFETY: the path is a C string for the call, and the structure outlives it.
        guard unsafe stat("/dev/kvm", &status) == 0 else { return (true, 0) }
        if status.st_mode & 0o006 == 0o006 { return (true, 0) }
        return (status.st_mode & 0o060 == 0o060 && status.st_gid != 0, status.st_gid)
    }
}
