import ToroCore
import ToroVirtio

/// A walk from the root of a share along a path, component by component, and what is asked of the
/// file at its end. It never leaves the share.
@Core final class PathWalk: FUSEOperation {
    /// What is wanted of the file.
    enum Purpose {
        case attributes
        /// A handle to read a regular file.
        case open
        /// A handle to read a directory.
        case openDirectory
        /// The text of a symbolic link.
        case readLink
    }

    /// What the request under way asks for.
    private enum Question {
        /// The node of the name at which the walk is.
        case node
        /// Where a symbolic link on the way leads.
        case way
        case attributes
        case handle
        case target
    }

    /// As many links as Linux follows in one path (path_resolution(7)).
    private static var linkLimit: Int { 40 }

    private let purpose: Purpose
    private let names: NameCache
    /// The root and the directories below it down to where the walk is.
    private var ancestors = ObjectList<FUSENode>()
    /// The path, or what was left of it behind the target of the last link.
    private var path: [UInt8]
    /// The name at which the walk is; its end is where the walk goes on.
    private var name = 0..<0
    private var links = 0
    private var question = Question.attributes
    /// The link that is asked for its target, held so that the host knows it that long.
    private var link: FUSENode?
    private var request: FUSERequest?
    private var hasNewAttributes = false

    private var handle: FUSEHandle?
    /// The link's text, for `.readLink`.
    private(set) var target: [UInt8] = []

    /// A walk that begins at `root`; a symbolic link at its end is followed except by `.readLink`.
    init(
        _ path: Path, from root: FUSENode, _ names: NameCache, _ purpose: Purpose
    ) throws(FileError) {
        self.purpose = purpose
        self.names = names
        self.path = path.bytes
        guard path.bytes.count <= Path.maximumLength else { throw .nameTooLong }
        guard !path.bytes.contains(0) else { throw .invalidPath }
        ancestors.append(root)
    }

    /// Where the walk is.
    var place: FUSENode { ancestors[ancestors.count - 1] }

    /// The handle at the end of `.open` and `.openDirectory`.
    func result() throws(FileError) -> FUSEHandle {
        guard let handle else { throw .deviceFailed }
        return handle
    }

    /// Whether the file at the end has to be a directory.
    private var mustBeDirectory: Bool { path.last == Self.slash }

    private static var slash: UInt8 { UInt8(ascii: "/") }

    func next(_ session: FUSESession) throws(FileError) -> FUSERequest? {
        if let answered = request {
            request = nil
            if try take(answered, session) { return nil }
        }
        while request == nil, try findName() { try step(session) }
        if request == nil { try ask(session) }
        return request
    }

    /// Takes an answer in; true if it was the last one.
    @inline(never) private func take(
        _ answered: FUSERequest, _ session: FUSESession
    ) throws(FileError) -> Bool {
        switch question {
        case .node:
            let entry = try answered.entry()
            let now = session.clock.now
            let node = FUSENode(entry.node, entry.attributes, now: now, session)
            if entry.validity > .zero {
                names.insert(path[name], in: place, node, until: now + entry.validity)
            }
            try arrive(at: node, session)
        case .way: try follow(try answered.target())
        case .attributes:
            place.update(try answered.attributes(), now: session.clock.now)
            hasNewAttributes = true
        case .handle:
            handle = FUSEHandle(
                try answered.handle(), of: place, directory: purpose == .openDirectory, session)
            return true
        case .target:
            target = try answered.target()
            return true
        }
        return false
    }

    /// Goes to the next name in the path; false if there is none.
    private func findName() throws(FileError) -> Bool {
        var start = name.upperBound
        while start < path.count, path[start] == Self.slash { start += 1 }
        var end = start
        while end < path.count, path[end] != Self.slash { end += 1 }
        name = start..<end
        guard name.count <= Path.maximumNameLength else { throw .nameTooLong }
        return !name.isEmpty
    }

    /// Goes to the file of the name in the directory where the walk is.
    private func step(_ session: FUSESession) throws(FileError) {
        guard place.attributes.kind == .directory else { throw .notADirectory }
        let text = path[name]
        if text.count <= 2, text.allSatisfy({ $0 == UInt8(ascii: ".") }) {
            if text.count == 1 { return }
            guard ancestors.count > 1 else { throw .escapesRoot }
            _ = ancestors.removeLast()
        } else if let known = names.find(text, in: place, at: session.clock.now) {
            try arrive(at: known, session)
        } else {
            question = .node
            request = try session.lookup(text, in: place)
        }
    }

    /// Goes on to `node`, or asks where it leads if it is a symbolic link.
    private func arrive(at node: FUSENode, _ session: FUSESession) throws(FileError) {
        guard node.attributes.kind == .symbolicLink,
            name.upperBound < path.count || purpose != .readLink
        else {
            ancestors.append(node)
            return
        }
        links += 1
        guard links <= Self.linkLimit else { throw .tooManyLinks }
        question = .way
        link = node
        request = try session.readLink(node)
    }

    /// Goes on along the target of a symbolic link.
    private func follow(_ target: [UInt8]) throws(FileError) {
        guard target.first != Self.slash else { throw .escapesRoot }
        var rest = target
        for index in name.upperBound..<path.count { rest.add(path[index]) }
        path = rest
        name = 0..<0
    }

    /// Asks for what is wanted of the file at the end, if that takes a request.
    @inline(never) private func ask(_ session: FUSESession) throws(FileError) {
        if mustBeDirectory, place.attributes.kind != .directory { throw .notADirectory }
        switch purpose {
        case .attributes, .open:
            if !hasNewAttributes, !place.isCurrent(at: session.clock.now) {
                question = .attributes
                request = try session.getAttributes(place.id)
                return
            }
            if purpose == .attributes { return }
            switch place.attributes.kind {
            case .regular: break
            case .directory: throw .isADirectory
            // Opening a device or a pipe could block the host's daemon.
            case .symbolicLink, .other: throw .permissionDenied
            }
            question = .handle
            request = try session.open(place, directory: false)
        case .openDirectory:
            guard place.attributes.kind == .directory else { throw .notADirectory }
            question = .handle
            request = try session.open(place, directory: true)
        case .readLink:
            guard place.attributes.kind == .symbolicLink else { throw .invalidPath }
            question = .target
            request = try session.readLink(place)
        }
    }
}
