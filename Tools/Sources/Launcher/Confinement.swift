import CLauncher
import Foundation

/// What a part may see and do.
struct Confinement {
    /// What it has namespaces of its own for.
    enum Namespace: Equatable {
        /// It has none.
        case none
        /// Mounts; needs `CAP_SYS_ADMIN`.
        case mounts
        /// Mounts and users: it is root there and alone, and outside it is this user.
        case oneUser(user: UInt32, group: UInt32)
        /// Mounts and users: all that there are here. Root there has no power over anything else.
        case allUsers
    }

    /// A folder as the part sees it, with all that is mounted below it.
    struct View {
        /// The folder.
        var folder: OpenFolder
        /// Where it is in the part's own namespace.
        var place: String
        /// Whether the part can only read it.
        var isReadOnly: Bool
    }

    var namespace = Namespace.none
    /// The folder that is put into its namespace.
    var view: View?
    /// Whether it can make no files with set-id bits, device nodes or file capabilities, nor gain
    /// privileges from any that there are.
    var isRestricted = false
}

/// A folder that was opened once. What its path leads to later changes nothing.
final class OpenFolder: Sendable {
    /// For paths only (`O_PATH`).
    let descriptor: Int32

    /// Opens a folder as the kernel finds it; nil with `errno` set.
    init?(_ path: String) {
        // SAFETY: the path is a C string for the call.
        descriptor = unsafe toro_open_folder(path)
        if descriptor < 0 { return nil }
    }

    deinit { close(descriptor) }

    /// Its owner.
    var owner: (user: UInt32, group: UInt32) {
        var status = stat()
        // SAFETY: the structure outlives the call.
        guard unsafe fstat(descriptor, &status) == 0 else { return (geteuid(), getegid()) }
        return (status.st_uid, status.st_gid)
    }
}

/// What this process may do beyond its user's rights (capabilities(7)).
struct Capabilities: OptionSet {
    let rawValue: UInt64

    static let chown = Capabilities(rawValue: 1 << 0)
    static let kill = Capabilities(rawValue: 1 << 5)
    static let setGroup = Capabilities(rawValue: 1 << 6)
    static let setUser = Capabilities(rawValue: 1 << 7)
    static let changeRoot = Capabilities(rawValue: 1 << 18)
    static let administration = Capabilities(rawValue: 1 << 21)

    /// Those in effect.
    static var own: Capabilities {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let digits = line?.split(whereSeparator: \.isWhitespace).last ?? "0"
        return Capabilities(rawValue: UInt64(digits, radix: 16) ?? 0)
    }

    /// Whether a process may become another user, and be ended all the same.
    static var mayChangeUser: Bool { own.isSuperset(of: [.setUser, .setGroup, .kill]) }
}

/// Why a host gives no namespaces, and what to do.
enum NamespaceAdvice {
    /// The words for a message.
    static var text: String {
        if setting("user/max_user_namespaces") == 0 {
            return "User namespaces are off: sysctl -w user.max_user_namespaces=10000"
        }
        if setting("kernel/unprivileged_userns_clone") == 0, geteuid() != 0 {
            return "User namespaces are for root only: sysctl -w kernel.unprivileged_userns_clone=1"
        }
        if setting("kernel/apparmor_restrict_unprivileged_userns") == 1,
            !Capabilities.own.contains(.administration)
        {
            return """
                AppArmor restricts user namespaces: \
                sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile for toro \
                that says "userns,"
                """
        }
        if Capabilities.own.contains(.administration) {
            return "CAP_SYS_ADMIN is there: is this a chroot, or does a security module forbid it?"
        }
        let who = geteuid() == 0 ? "Root has no CAP_SYS_ADMIN here" : "This user is not root"
        return """
            \(who), and may make no user namespaces either. In a container, start it with \
            --cap-add SYS_ADMIN, or with a seccomp profile that allows unshare and mount; in a \
            chroot, run outside it
            """
    }

    private static func setting(_ name: String) -> Int? {
        (try? String(contentsOfFile: "/proc/sys/\(name)", encoding: .utf8))
            .flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }
}
