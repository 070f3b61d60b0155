import Foundation

/// A folder of the host that a guest may see.
public struct Share: Equatable, Sendable {
    /// The name the guest asks for.
    public let tag: String
    /// The folder, as it was named.
    public let folder: String
    /// Whether the guest may change it.
    public let isWritable: Bool
    /// The folder that the name led to: whatever is renamed afterwards, this one is shared.
    let root: OpenFolder

    /// Parses TAG=FOLDER or TAG=FOLDER:rw.
    public init(parsing text: String) throws(LaunchError) {
        guard let mark = text.firstIndex(of: "="), mark != text.startIndex else {
            throw .usage("--share takes TAG=FOLDER or TAG=FOLDER:rw, not \(text)")
        }
        var path = String(text[text.index(after: mark)...])
        let isWritable = path.hasSuffix(":rw")
        if isWritable { path.removeLast(3) }
        try self.init(tag: String(text[..<mark]), folder: path, isWritable: isWritable)
    }

    /// The share of a folder that exists. The kernel finds it, links and `..` included.
    public init(tag: String, folder path: String, isWritable: Bool = false) throws(LaunchError) {
        self.tag = tag
        self.isWritable = isWritable
        guard tag.utf8.count <= 36 else {
            throw .usage("the tag \(tag) is longer than 36 bytes")
        }
        folder = path
        guard let root = OpenFolder(path) else {
            switch errno {
            case ENOENT: throw .usage("the folder \(path) of the share \(tag) does not exist")
            case ENOTDIR: throw .usage("\(path), to be shared as \(tag), is no folder")
            case let error:
                throw .usage("cannot open the folder \(path) of the share \(tag): \(reason(error))")
            }
        }
        self.root = root
    }

    /// Whether both are the same folder under the same tag.
    public static func == (left: Share, right: Share) -> Bool {
        left.tag == right.tag && left.folder == right.folder
            && left.isWritable == right.isWritable
    }

    /// The ways to start `daemon` so that it serves the share to whoever connects to `listener`,
    /// the better ones first.
    ///
    /// The C virtiofsd has no read-only switch, so the folder is made read-only in a mount namespace
    /// of the daemon's own; without `CAP_SYS_ADMIN` that belongs to a user namespace. Where there is
    /// neither, a filter of system calls keeps the daemon from changing anything. A writable
    /// folder is served by its owner and nobody else, so that root of the guest is never root here.
    func starts(_ daemon: FileDaemon, listener: Int32) -> [Part.Start] {
        let own = Capabilities.own
        let current = Confinement.Namespace.oneUser(user: geteuid(), group: getegid())
        let mayMap = own.isSuperset(of: [.setUser, .setGroup])
        var namespaces: [Confinement.Namespace] = []
        if isWritable {
            let owner = root.owner
            if Capabilities.mayChangeUser {
                namespaces.append(.oneUser(user: owner.user, group: owner.group))
            }
            if namespaces != [current] { namespaces.append(current) }
        } else {
            if own.contains(.administration) { namespaces.append(.mounts) }
            if geteuid() == 0, mayMap { namespaces.append(.allUsers) }
            namespaces.append(current)
        }
        // A container without namespaces still lets its root leave its root folder.
        if own.contains(.changeRoot) { namespaces.append(.none) }
        return namespaces.map { start(daemon, listener, $0) }
    }

    private func start(
        _ daemon: FileDaemon, _ listener: Int32, _ namespace: Confinement.Namespace
    ) -> Part.Start {
        let place =
            namespace == .none ? "/proc/self/fd/\(root.descriptor)/." : Share.place
        var start = Part.Start(
            name: "virtiofsd (share \(tag))", program: daemon.path,
            arguments: daemon.arguments(
                folder: place, listener: listener, isReadOnly: !isWritable,
                isPowerful: namespace == .none))
        start.kept = [listener]
        start.confinement.namespace = namespace
        start.confinement.isRestricted = true
        if namespace == .none {
            start.kept.append(root.descriptor)
            start.confinement.changesNothing = !isWritable
        } else {
            start.confinement.view = .init(folder: root, place: place, isReadOnly: !isWritable)
        }
        return start
    }

    /// Where a daemon finds its folder: covered in its own namespace only. It is in every root
    /// folder, and neither programs nor what they load are there.
    private static let place = "/sys"
}
