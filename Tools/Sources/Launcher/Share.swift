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

    /// Parses TAG=FOLDER, TAG=FOLDER:ro or TAG=FOLDER:rw.
    ///
    /// Only a mode at the very end is one: the folder `a:rw` is written `a:rw:ro` or `a:rw/`. Any
    /// byte may stand in the folder's name: see ``RawText``.
    public init(parsing text: String) throws(LaunchError) {
        // By scalars: what stands for a byte may join what is before it to one character.
        let scalars = text.unicodeScalars
        guard let mark = scalars.firstIndex(of: "="), mark != scalars.startIndex else {
            throw .usage("--share takes TAG=FOLDER, TAG=FOLDER:ro or TAG=FOLDER:rw, not \(text)")
        }
        var path = Array(scalars[scalars.index(after: mark)...])
        let mode = String(String.UnicodeScalarView(path.suffix(3)))
        if [":ro", ":rw"].contains(mode) { path.removeLast(3) }
        try self.init(
            tag: String(scalars[..<mark]), folder: String(String.UnicodeScalarView(path)),
            isWritable: mode == ":rw")
    }

    /// The share of a folder that exists. The kernel finds it, links and `..` included.
    public init(tag: String, folder path: String, isWritable: Bool = false) throws(LaunchError) {
        self.tag = tag
        self.isWritable = isWritable
        guard RawText.bytes(of: tag).count <= 36 else {
            throw .usage("the tag \(tag) is longer than 36 bytes")
        }
        folder = path
        do throws(HostFile.Failure) {
            root = try OpenFolder(path)
        } catch {
            let name = "the folder \(path) of the share \(tag)"
            if let interruption = error.interruption(name) { throw interruption }
            switch error.code {
            case ENOENT where path.isEmpty:
                throw .usage("the share \(tag) names no folder: --share \(tag)=FOLDER")
            case ENOENT:
                throw .usage("\(name) does not exist" + Share.hint(path))
            case ENOTDIR: throw .usage("\(path), to be shared as \(tag), is no folder")
            default: throw .usage("cannot open \(name): \(reason(error.code))")
            }
        }
    }

    /// What a folder that is not there may have been meant to be.
    private static func hint(_ path: String) -> String {
        guard let mark = path.lastIndex(of: ":"),
            (try? OpenFolder(String(path[..<mark]))) != nil
        else { return "" }
        return "; behind a folder stands :ro, :rw or nothing"
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
