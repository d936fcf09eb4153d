"""The paper's 3D DeepLab v3+ (section 2.1, Table 1, Fig. 2): `encoder -> aspp -> decoder`, together `deeplab`."""
