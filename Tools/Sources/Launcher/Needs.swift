/// Puts together what an image needs and what the user gave.
public struct Needs {
    private let manifest: Manifest
    private let package: String?

    /// The needs of an image; `package` is the folder it is built from. What a package says is the
    /// word of its user; an image may come from anybody, and gets nothing that matters for that.
    public init(_ manifest: Manifest, package: String?) {
        self.manifest = manifest
        self.package = package
    }

    /// The user's shares, and the package's own folders for those that it needs besides.
    public func shares(given: [Share]) throws(LaunchError) -> [Share] {
        for (index, share) in given.enumerated()
        where given[..<index].contains(where: { $0.tag == share.tag }) {
            throw .usage("the tag \(share.tag) is shared twice")
        }
        var result = given
        for need in manifest.shares ?? [] where !given.contains(where: { $0.tag == need.tag }) {
            guard let package, let folder = need.folder else {
                let purpose = need.purpose.map { " (\($0))" } ?? ""
                throw .usage(
                    "the image needs the share \(need.tag)\(purpose): --share \(need.tag)=FOLDER")
            }
            result.append(try Share(tag: need.tag, folder: Needs.path(folder, in: package)))
        }
        return result
    }

    /// The user's amount, or else what the image needs.
    public func memory(given: MemorySize?) throws(LaunchError) -> MemorySize {
        if let given { return given }
        let wish = try MemorySize(parsing: manifest.memory ?? "32M")
        guard package != nil || wish <= .modest else {
            throw .usage(
                "the image asks for \(wish) of RAM; more than \(MemorySize.modest) needs your word: "
                    + "--memory \(wish)")
        }
        return wish
    }

    private static func path(_ name: String, in folder: String) -> String {
        folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }

    /// The user's ports, and the usual ones for those that it needs besides.
    public func ports(given: [PublishedPort]) throws(LaunchError) -> [PublishedPort] {
        var result = given
        for need in manifest.ports ?? []
        where !given.contains(where: { $0.guestPort == need.guest }) {
            if package == nil, let host = need.host, (1..<1024).contains(host) {
                throw .usage(
                    "the image asks for port \(host) of this host; one below 1024 needs your word: "
                        + "--publish \(host):\(need.guest)")
            }
            result.append(PublishedPort(port: need.host ?? 0, guestPort: need.guest))
        }
        return result
    }
}
