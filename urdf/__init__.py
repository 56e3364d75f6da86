"""What each arm is: kinematics, limits, tool, gripper law and rigs. NumPy only."""
