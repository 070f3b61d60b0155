/// Puts together what an image needs and what the user gave.
public struct Needs {
    private let manifest: Manifest
    private let package: String?

    /// The needs of an image; `package` is the folder it was built from.
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

    private static func path(_ name: String, in folder: String) -> String {
        folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }

    /// The user's ports, and the usual ones for those that it needs besides.
    public func ports(given: [PublishedPort]) throws(LaunchError) -> [PublishedPort] {
        var result = given
        for need in manifest.ports ?? []
        where !given.contains(where: { $0.guestPort == need.guest }) {
            result.append(PublishedPort(port: need.host ?? 0, guestPort: need.guest))
        }
        return result
    }
}
