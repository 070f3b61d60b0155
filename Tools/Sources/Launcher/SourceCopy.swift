import Foundation

/// A copy of Toro's sources, to be built where the checkout is not to be touched.
public struct SourceCopy: Sendable {
    /// The checkout.
    let root: String
    /// The folder of the copy.
    public let folder: String

    /// The copy of `root` in `folder`, which need not be there yet.
    public init(of root: String, in folder: String) {
        self.root = root
        self.folder = folder
    }

    /// Brings these files and folders of the copy up to date. What has not changed keeps its date, so
    /// that little is built; build folders are nobody's sources, and stay as they are on both sides.
    public func refresh(_ parts: [String]) throws(LaunchError) {
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true)
            for part in parts { try refresh(part) }
        } catch {
            throw LaunchError("cannot copy the sources: \(reason(error))")
        }
    }

    private func refresh(_ part: String) throws {
        let files = FileManager.default
        let (source, target) = (root + "/" + part, folder + "/" + part)
        let attributes = try files.attributesOfItem(atPath: source)
        guard attributes[.type] as? FileAttributeType == .typeDirectory else {
            if files.contentsEqual(atPath: source, andPath: target) { return }
            try? files.removeItem(atPath: target)
            try files.copyItem(atPath: source, toPath: target)
            return
        }
        try files.createDirectory(atPath: target, withIntermediateDirectories: true)
        let here = try files.contentsOfDirectory(atPath: source)
        let there = try files.contentsOfDirectory(atPath: target)
        for gone in there where !here.contains(gone) && gone != ".build" {
            try files.removeItem(atPath: target + "/" + gone)
        }
        for name in here where name != ".build" { try refresh(part + "/" + name) }
    }
}
