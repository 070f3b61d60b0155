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

    /// A folder as the part sees it, with all that is mounted below it. Everything else is read-only
    /// for the part.
    struct View {
        /// The folder.
        var folder: OpenFolder
        /// Where it is in the part's own namespace.
        var place: String
        /// Whether the part can only read it.
        var isReadOnly: Bool
    }

    /// A user that a part runs as.
    struct User: Equatable {
        var user: UInt32
        var group: UInt32
        /// A further group; 0 for none.
        var extraGroup: UInt32 = 0
    }

    var namespace = Namespace.none
    /// The user that it becomes; nil for whoever starts it. Only without a namespace.
    var user: User?
    /// Whether it has no capabilities, even as root.
    var isPowerless = false
    /// The folder that is put into its namespace.
    var view: View?
    /// Whether it can make no files with set-id bits, device nodes or file capabilities, nor gain
    /// privileges from any that there are, nor make sockets that reach anybody.
    var isRestricted = false
    /// Whether it can, being restricted, change no file at all.
    var changesNothing = false
}

extension Part.Start {
    /// The ways to start the part with no more rights than it needs, the better ones first.
    ///
    /// A part of root's runs as a user that nobody else is and that owns no file, so that parts
    /// cannot reach each other either; the numbers are from a range that systemd leaves unused
    /// (UIDS-GIDS.md). Where a user namespace has fewer users it is nobody, or stays who it is.
    /// `extraGroup` is a group that the part needs besides; 0 for none.
    func unprivileged(extraGroup: UInt32 = 0, mayChangeUser: Bool = true) -> [Part.Start] {
        var users: [Confinement.User?] = [nil]
        if geteuid() == 0, mayChangeUser, Capabilities.mayChangeUser {
            let number = 0x7000_0000 | UInt32.random(in: 0..<1 << 27)
            users = [
                .init(user: number, group: number, extraGroup: extraGroup),
                .init(user: 65534, group: 65534, extraGroup: extraGroup), nil,
            ]
        }
        return users.map { user in
            var start = self
            start.confinement.user = user
            start.confinement.isPowerless = true
            start.confinement.isRestricted = true
            return start
        }
    }
}

/// A file in memory that nobody can change. A part opens it by its path, whoever it runs as: the
/// file on disk may be for root only.
final class SealedFile {
    private let descriptor: Int32
    /// What a part inherits.
    var inherited: [Int32] { [descriptor] }
    /// Its path in a process that inherited it.
    var path: String { "/proc/self/fd/\(descriptor)" }

    /// A copy of a file.
    init(copying file: String) throws(LaunchError) {
        let bytes: Data
        do throws(HostFile.Failure) {
            bytes = try HostFile.contents(file)
        } catch {
            throw error.interruption(file) ?? .usage("cannot read \(file): \(error.reason)")
        }
        // SAFETY: the pointer and the length are the data's.
        descriptor = unsafe bytes.withUnsafeBytes { raw in
            unsafe toro_memory_file(raw.baseAddress, raw.count)
        }
        guard descriptor >= 0 else { throw LaunchError("no memory for \(file): \(reason(errno))") }
    }

    deinit { close(descriptor) }
}

/// A folder that was opened once. What its path leads to later changes nothing.
final class OpenFolder: Sendable {
    /// For paths only (`O_PATH`).
    let descriptor: Int32
    /// Its owner, with the group that the owner's files have: the folder's if the system does not
    /// know the owner.
    let owner: (user: UInt32, group: UInt32)

    /// Opens a folder as the kernel finds it. Its file system may not answer: a signal ends the
    /// waiting here.
    init(_ path: String) throws(HostFile.Failure) {
        let folder = try HostFile.ask(path, O_DIRECTORY)
        descriptor = folder.descriptor
        // SAFETY: what the call returns is read before the next call of its kind.
        let group = unsafe getpwuid(folder.user)?.pointee.pw_gid
        owner = (folder.user, group ?? folder.group)
    }

    deinit { close(descriptor) }
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
        let own = Capabilities.own
        if own.contains(.administration) {
            return "CAP_SYS_ADMIN is there: is this a chroot, or does a security module forbid it?"
        }
        if geteuid() == 0, !own.contains(.changeRoot) {
            return """
                Root has neither CAP_SYS_ADMIN nor CAP_SYS_CHROOT here, and may make no user \
                namespaces: start the container with --cap-add SYS_CHROOT
                """
        }
        return """
            This user is not root, and may make no user namespaces. In a container, start it with \
            a seccomp profile that allows unshare and mount, or run as its root; in a chroot, run \
            outside it
            """
    }

    private static func setting(_ name: String) -> Int? {
        (try? String(contentsOfFile: "/proc/sys/\(name)", encoding: .utf8))
            .flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }
}
