import ToroCore
import ToroVirtio

/// A walk from the root of a share along a path, component by component: names go out, nodes and
/// the targets of symbolic links come in. It never leaves the share.
@Core struct PathWalk {
    /// As many links as Linux follows in one path (path_resolution(7)).
    private static var linkLimit: Int { 40 }

    private var ancestors: [FUSENode]
    /// The components to come, the last one first.
    private var todo: [ArraySlice<UInt8>]
    private var mustBeDirectory: Bool
    private var links = 0
    private let followLast: Bool

    /// A walk that begins at `root`; a symbolic link at its end is followed if `followLast`.
    init(_ path: Path, from root: FUSENode, followLast: Bool) throws(FileError) {
        ancestors = [root]
        todo = try path.components().reversed()
        mustBeDirectory = path.bytes.last == UInt8(ascii: "/")
        self.followLast = followLast
    }

    /// Where the walk is.
    var place: FUSENode { ancestors[ancestors.count - 1] }

    /// The name to look up in ``place``; nil at the end.
    @inline(never)
    mutating func next() throws(FileError) -> ArraySlice<UInt8>? {
        while let name = todo.popLast() {
            guard place.attributes.kind == .directory else { throw .notADirectory }
            guard name.count == 2, name.allSatisfy({ $0 == UInt8(ascii: ".") }) else {
                return name
            }
            guard ancestors.count > 1 else { throw .escapesRoot }
            ancestors.removeLast()
        }
        if mustBeDirectory, place.attributes.kind != .directory { throw .notADirectory }
        return nil
    }

    /// Goes on to `node`; true if it is a symbolic link, whose target ``follow(_:)`` wants.
    @inline(never)
    mutating func arrive(at node: FUSENode) throws(FileError) -> Bool {
        guard node.attributes.kind == .symbolicLink,
            !todo.isEmpty || followLast || mustBeDirectory
        else {
            ancestors.append(node)
            return false
        }
        links += 1
        guard links <= Self.linkLimit else { throw .tooManyLinks }
        return true
    }

    /// Goes on along the target of a symbolic link.
    @inline(never)
    mutating func follow(_ target: [UInt8]) throws(FileError) {
        let slash = UInt8(ascii: "/")
        guard target.first != slash else { throw .escapesRoot }
        if todo.isEmpty, target.last == slash { mustBeDirectory = true }
        todo += try Path(target).components().reversed()
    }
}
