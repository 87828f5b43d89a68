"""Sources around a source: repaired slices, content hashes, a given voxel size."""
